"""AgentProfile: the configuration that a platform team provides for runs."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from agentrun.api import pod_layout
from agentrun.api.base import API_VERSION, Line, Model, ObjectName, Text, Token
from agentrun.api.pod_metadata import COPIED_KEY, KEY, MAX_KEY, MAX_PREFIX, OWN, Annotations, Labels
from agentrun.api.quantities import Quantity
from agentrun.api.repositories import BRANCHES, REPOSITORY
from agentrun.api.v1alpha1.mcp import McpServer
from agentrun.api.v1alpha1.meta import ConfigMapKey, EnvVar, ObjectMeta, SecretKey
from agentrun.api.v1alpha1.network import Network
from agentrun.api.v1alpha1.run import Timeouts, Workspace
from agentrun.api.v1alpha1.vocabulary import Backend

# A backslash in CEL's strings is two.
_IN_CEL = {text: text.replace("\\", "\\\\") for text in (REPOSITORY, BRANCHES)}
PROVIDER_PATH = r"^(GET|HEAD|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9._~:@*-]+)+$"
"""The form of an entry of `provider.paths`."""
_PRESERVE: Any = {"x-kubernetes-preserve-unknown-fields": True}

# What a mount may neither hide nor lie in: the pod's own folders, and what a program needs to run.
_TAKEN = (
    "/agentrun", pod_layout.WORKSPACE, pod_layout.HOME, pod_layout.SPOOL, "/tmp",
    "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run",
)  # fmt: skip
_WRITTEN_BY_RUNNER = (".gitconfig", ".codex/config.toml")
_NO_DOTS = "matches('(^|/)[.]{1,2}(/|$)')"


def _map(key: str) -> Any:
    """Return the schema of a list in which no two items have the same ``key``."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class Models(Model):
    """The models that runs may use."""

    default: Token | None = None
    """The model of runs that name none. If omitted, the agent uses its own default."""
    allowed: Annotated[list[Token], Field(max_length=100)] = []  # noqa: RUF012
    """
    The models that a run may name and its agent may request, including for auxiliary requests.
    `default` is always allowed. If empty, all models are allowed.
    """


class Provider(Model):
    """
    The model provider. The runner forwards requests to it, so the agent never has the API key.
    """

    base_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """
    The URL of the provider's API. Defaults to that of the backend's own provider, such as OpenAI.
    """
    key_secret: SecretKey | None = None
    """The Secret key that contains the API key."""
    paths: Annotated[
        list[Annotated[str, Field(max_length=512, pattern=PROVIDER_PATH)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    Requests that agents may send to the provider in addition to those that the backend's agent
    needs. Each is a method and a path below `baseURL`, such as `POST /embeddings`; `*` matches the
    rest of a segment. The API key gives access to all that is served there.
    """
    headers: Annotated[
        list[Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]],
        Field(max_length=32),
    ] = []  # noqa: RUF012
    """
    Headers of the agent's requests that are forwarded in addition to those that every client sends,
    such as one that selects a project. Headers with a key are never forwarded.
    """
    stored_objects: bool = False
    """
    Whether requests may refer to objects that are stored in the provider's account: files, earlier
    responses, conversations. The API key may give access to objects of others. Defaults to false.
    """


class GitSettings(Model):
    """The settings for cloning and pushing git workspaces."""

    credentials_secret: ObjectName | None = None
    """
    The name of a Secret of type kubernetes.io/basic-auth or ssh-auth. Only the runner reads it.
    """
    repositories: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    The repositories that runs may name and to which the Secret applies, in addition to that of the
    profile's own `workspace`. Each is a URL with its scheme, of a repository or of a folder of
    repositories, such as `https://git.example.com/team`. If empty, runs may name any repository,
    which is cloned without the Secret and never pushed to.
    """
    branches: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=64)
    ] = ["agentrun/*"]  # noqa: RUF012
    """
    The branches to which changes may be pushed; `*` matches any characters. Defaults to agentrun/*.
    """
    plaintext_credentials: bool = False
    """
    Whether the user and password are also sent over http, unencrypted. For development clusters.
    Defaults to false.
    """
    push: bool = True
    """Whether the branch of the change is pushed, if there are credentials. Defaults to true."""
    author_name: Line | None = None
    """The author name of the runner's commits. Defaults to AgentRun."""
    author_email: Line | None = None
    """The author's email address. Defaults to agentrun@localhost."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "!has(self.repositories)"
            f" || self.repositories.all(one, one.matches('{_IN_CEL[REPOSITORY]}'))",
            "message": "each of repositories must be a URL with its scheme (https://, ssh://,"
            " http:// or git://), or have the form USER@HOST:PATH",
        },
        {
            "rule": "!has(self.branches)"
            f" || self.branches.all(one, one.matches('{_IN_CEL[BRANCHES]}'))",
            "message": "each of branches must be a branch name, in which * matches any characters",
        },
    ]


class Cache(Model):
    """
    A folder of a shared volume that caches what agents download: packages, modules, build results.
    """

    claim: ObjectName
    """The PersistentVolumeClaim. All runs of the profile share it, and trust its contents."""
    mount_path: Annotated[str, Field(min_length=1, max_length=255)]
    """
    The mount path in the agent container, such as /caches/npm. Use `env` to configure tools for it.
    """
    sub_path: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The folder of the volume to mount; it is created if missing. Defaults to the whole volume."""
    read_only: bool = False
    """Whether the mount is read-only. Defaults to false."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "self.mountPath.matches('^(/[A-Za-z0-9._@+-]+)+$')"
            f" && !self.mountPath.{_NO_DOTS}",
            "message": "mountPath must be a normalized absolute path, such as /caches/npm",
        },
        {
            "rule": f"{list(_TAKEN)}.all(taken, self.mountPath != taken"
            " && !self.mountPath.startsWith(taken + '/')"
            " && !taken.startsWith(self.mountPath + '/'))",
            "message": "mountPath must not contain, or be in, a folder of the system or of the run"
            f" ({pod_layout.WORKSPACE}, {pod_layout.HOME}, /tmp): use one such as /caches/npm",
        },
        {
            "rule": "!has(self.subPath) || (self.subPath.matches('^[A-Za-z0-9._@+-][^:]*$')"
            f" && !self.subPath.{_NO_DOTS})",
            "message": "subPath must be a relative path without . and .. segments",
        },
    ]


class InstructionFile(Model):
    """
    A file in the agent's home directory, outside of the repository, that the agent reads by itself.
    """

    path: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """
    The path relative to the home directory. Defaults to the path from which the backend's agent
    reads a user's instructions: .codex/AGENTS.md, .claude/CLAUDE.md, .config/opencode/AGENTS.md,
    .gemini/GEMINI.md.
    """
    text: Text | None = None
    """The content of the file."""
    config_map: ConfigMapKey | None = None
    """The ConfigMap key that contains the content of the file."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.text) != has(self.configMap)",
            "message": "an instruction file has either a text or a configMap",
        },
        {
            "rule": f"!has(self.path) || (!self.path.startsWith('/') && !self.path.{_NO_DOTS}"
            f" && !(self.path in {list(_WRITTEN_BY_RUNNER)}))",
            "message": "path must be relative to the agent's home, without . and .., and not one of"
            f" {', '.join(_WRITTEN_BY_RUNNER)}, which AgentRun writes",
        },
    ]


class Resources(Model):
    """The resources of the agent container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}  # noqa: RUF012
    """The minimum of each resource that is reserved for the container."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}  # noqa: RUF012
    """The maximum of each resource that the container may use."""


def _valid_keys(field: str, pattern: str) -> dict[str, str]:
    """Return the CEL rule on the keys of labels or annotations, or on a list of such keys."""
    return {
        "rule": f"!has(self.{field}) || self.{field}.all(key, size(key) <= {MAX_KEY}"
        f" && key.indexOf('/') <= {MAX_PREFIX} && key.matches('{pattern}')"
        f" && !key.matches('{OWN}'))",
        "message": f"{field} must be valid keys of labels and annotations, and not one of"
        " agentrun.dev, which are AgentRun's own",
    }


class PodSettings(Model):
    """The metadata, scheduling and security settings of the pods of runs."""

    labels: Labels = {}  # noqa: RUF012
    """
    Labels of the pods, in addition to those of the chart's `operator.runPods.labels`. AgentRun's
    own labels take precedence.
    """
    annotations: Annotations = {}  # noqa: RUF012
    """
    Annotations of the pods, in addition to those of the chart's `operator.runPods.annotations`.
    """
    metadata_keys_to_copy: Annotated[
        list[Annotated[str, Field(max_length=MAX_KEY)]], Field(max_length=32)
    ] = []  # noqa: RUF012
    """
    The keys of labels and annotations that pods get from their AgentRun, where users set them:
    complete keys, such as `kueue.x-k8s.io/queue-name`, or prefixes with their slash, such as
    `example.com/`. They replace those of the profile. If empty, none is copied.
    """
    node_selector: Annotated[dict[str, str], Field(max_length=32)] = {}  # noqa: RUF012
    """The labels that a node must have."""
    tolerations: Annotated[
        list[dict[str, Any]],
        Field(max_length=32, json_schema_extra={"items": {"type": "object", **_PRESERVE}}),
    ] = []  # noqa: RUF012
    """The tolerations of the pods, in the form of a pod's `spec.tolerations`."""
    runtime_class_name: ObjectName | None = None
    """The RuntimeClass of the pods, such as that of a sandboxed runtime."""
    priority_class_name: ObjectName | None = None
    """The PriorityClass of the pods."""
    run_as_user: Annotated[int, Field(ge=1)] = 1000
    """The user ID of the agent and the runner. Defaults to 1000."""
    read_only_root_filesystem: bool = True
    """
    Whether the root filesystem of the agent container is read-only. /workspace, HOME and /tmp are
    always writable. Defaults to true.
    """
    workspace_size: Quantity = "10Gi"
    """The maximum size of the workspace. Defaults to 10Gi."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        _valid_keys("labels", KEY),
        _valid_keys("annotations", KEY),
        _valid_keys("metadataKeysToCopy", COPIED_KEY),
    ]


class SessionSettings(Model):
    """The settings for the snapshots from which conversations are resumed."""

    max_snapshot_size: Quantity = "512Mi"
    """The maximum size of a snapshot; a larger one is not stored. Defaults to 512Mi."""


class Children(Model):
    """The limits on runs that the agents of the profile spawn."""

    profiles: Annotated[list[ObjectName], Field(max_length=32)] = []  # noqa: RUF012
    """
    The profiles that these runs may use. If empty, only the profile of the agent that spawns them.
    """
    max_depth: Annotated[int, Field(ge=0, le=16)] = 1
    """The maximum depth of runs below a run that a person requested. Defaults to 1."""
    max_count: Annotated[int, Field(ge=0, le=1000)] = 10
    """The maximum number of runs that each agent may spawn. Defaults to 10."""
    repositories: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    The repositories that these runs may use in addition to that of the agent that spawns them, in
    the form of `git.repositories`.
    """


class AgentTools(Model):
    """The access of an agent to AgentRun's own tools."""

    allowed: Annotated[
        list[
            Literal[
                "send_agent_message",
                "fetch_agent_messages",
                "list_agents",
                "list_runs",
                "get_run",
                "poll_events",
                "get_event_artifact",
                "spawn_run",
                "cancel_run",
                "continue_run",
            ]
        ],
        Field(max_length=10),
    ] = ["send_agent_message", "fetch_agent_messages", "list_agents"]  # noqa: RUF012
    """The tools that the agent is offered. If empty, it has none."""
    deliver_messages: Literal["Pull", "BetweenTurns", "Steer"] = "Pull"
    """
    How messages from other agents are delivered. `Pull`: the agent fetches them. `BetweenTurns`:
    messages that arrived during a turn start another turn. `Steer`: messages are added to the
    current turn if the agent supports that, else as with `BetweenTurns`. Defaults to `Pull`.
    """
    children: Children = Children()
    """The limits on runs that the agent spawns, if `spawn_run` is allowed."""


class AgentProfileSpec(Model):
    """
    The specification of a profile: image, model, credentials and limits of the runs that use it.
    """

    description: Annotated[str, Field(max_length=4096)] | None = None
    """A description of the profile, for users who choose one."""
    backend: Backend
    """The kind of agent that runs of the profile use."""
    image: Annotated[str, Field(min_length=1, max_length=1024)]
    """The image with the agent program. docs/agent-image.md describes its requirements."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image. Defaults to IfNotPresent."""
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=16)] = []  # noqa: RUF012
    """The names of Secrets of type kubernetes.io/dockerconfigjson for pulling images."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = []  # noqa: RUF012
    """The command that starts the agent and speaks ACP. Defaults to the backend's command."""
    instructions: Annotated[str, Field(max_length=65_536)] | None = None
    """Instructions that are prepended to the prompt of each run."""
    instruction_files: Annotated[list[InstructionFile], Field(max_length=16)] = []  # noqa: RUF012
    """Files in the agent's home directory that the agent reads by itself."""
    mcp_servers: Annotated[
        list[McpServer], Field(max_length=32, json_schema_extra=_map("name"))
    ] = []  # noqa: RUF012
    """MCP servers whose tools the agent can use."""
    permission_mode: Literal["Bypass", "Ask"] = "Bypass"
    """
    Whether the agent asks for permission. `Bypass`: it may do anything in its pod. `Ask`: it asks a
    person; the run is then InputRequired, and the question has the choices as its options.
    Defaults to `Bypass`.
    """
    sessions: SessionSettings = SessionSettings()
    """The settings for the snapshots of conversations."""
    agent_tools: AgentTools = AgentTools()
    """The access of the agent to AgentRun's own tools."""
    models: Models = Models()
    """The models that runs may use."""
    provider: Provider = Provider()
    """The model provider, to which the runner forwards the agent's requests."""
    env: Annotated[list[EnvVar], Field(max_length=100)] = []  # noqa: RUF012
    """The environment variables of the agent."""
    git: GitSettings = GitSettings()
    """The settings for cloning and pushing git workspaces."""
    workspace: Workspace | None = None
    """The workspace of runs that name none."""
    volumes: Annotated[list[ObjectName], Field(max_length=32)] = []  # noqa: RUF012
    """The PersistentVolumeClaims that runs may name as their workspace."""
    caches: Annotated[list[Cache], Field(max_length=16, json_schema_extra=_map("mountPath"))] = []  # noqa: RUF012
    """
    Folders of shared volumes that cache downloads. They are mounted in the agent container only.
    """
    network: Network = Network()
    """The network settings of the pods: trusted CA certificates and a forward proxy."""
    timeouts: Timeouts = Timeouts()
    """The time limits of runs that omit them, and the maximum for runs that set them."""
    resources: Resources = Resources()
    """The resources of the agent container."""
    pod: PodSettings = PodSettings()
    """The scheduling and security settings of the pods."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "self.backend != 'acp' || !has(self.instructionFiles)"
            " || self.instructionFiles.all(file, has(file.path))",
            "message": "an instruction file of backend acp needs a path: there is no default path",
        },
        {
            "rule": "self.backend != 'remote_a2a' || (self.mcpServers.size() == 0"
            " && self.caches.size() == 0 && !has(self.instructionFiles))",
            "message": "backend remote_a2a does not support mcpServers, caches or instructionFiles",
        },
    ]


class AgentProfile(Model):
    """The configuration that a platform team provides for runs."""

    api_version: str = API_VERSION
    kind: str = "AgentProfile"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentProfileSpec
