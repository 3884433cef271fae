"""AgentProfile: what a platform team offers to those who run agents."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from agentrun.api import pod_layout
from agentrun.api.base import API_VERSION, Line, Model, Name, Text, Token
from agentrun.api.repositories import BRANCHES, REPOSITORY
from agentrun.api.v1alpha1.mcp import McpServer
from agentrun.api.v1alpha1.meta import ConfigMapKey, EnvVar, ObjectMeta, ObjectName, SecretKey
from agentrun.api.v1alpha1.network import Network
from agentrun.api.v1alpha1.run import Timeouts, Workspace
from agentrun.api.v1alpha1.vocabulary import Backend

Quantity = Annotated[
    str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$")
]
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
    """Make a list one in which no two items have the same ``key``."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class Models(Model):
    """The models a run may use."""

    default: Token | None = None
    """The model of a run that names none. Default: the agent's own choice."""
    allowed: Annotated[list[Token], Field(max_length=100)] = []  # noqa: RUF012
    """
    The models a run may name, and its agent ask for: also those that it asks for aside. Besides
    them, `default`. Empty for any.
    """


class Provider(Model):
    """The provider of the model. The runner speaks to it, so the agent never holds the key."""

    base_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The provider's API. Default: the backend's own (Anthropic's, OpenAI's)."""
    key_secret: SecretKey | None = None
    """The Secret that holds the API key."""
    paths: Annotated[
        list[Annotated[str, Field(max_length=512, pattern=PROVIDER_PATH)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    What agents may ask of the provider beyond what the backend's agent needs, each a method and a
    path below `baseURL`, such as `POST /embeddings`; `*` stands for the rest of a segment. The
    key opens whatever lies there.
    """
    headers: Annotated[
        list[Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]],
        Field(max_length=32),
    ] = []  # noqa: RUF012
    """
    Headers of the agent's requests that are passed on besides those that every client sends,
    such as one that chooses a project. Never those with a key.
    """
    stored_objects: bool = False
    """
    Whether requests may refer to what is stored in the provider's account: files, earlier answers,
    conversations. The key may open what others have stored there.
    """


class GitSettings(Model):
    """How git workspaces are cloned and pushed."""

    credentials_secret: Name | None = None
    """A Secret of type kubernetes.io/basic-auth or ssh-auth. Only the runner sees it."""
    repositories: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    The repositories that runs may name, and the Secret is for, besides that of the profile's own
    `workspace`: URLs with their scheme, each of a repository or of a folder of them, such as
    `https://git.example.com/team`. Empty: runs may name any, and those are cloned without the
    Secret and never pushed to.
    """
    branches: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=255)]], Field(max_length=64)
    ] = ["agentrun/*"]  # noqa: RUF012
    """The branches that changes may be pushed to; `*` stands for anything."""
    plaintext_credentials: bool = False
    """
    Send the user and password over http as well, where everybody on the way can read them. For
    development clusters.
    """
    push: bool = True
    """Push the change's branch, where there are credentials."""
    author_name: Line | None = None
    """The author of the runner's commits. Default: AgentRun."""
    author_email: Line | None = None
    """Their address."""

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
            "message": "each of branches must be a branch's name, in which * stands for anything",
        },
    ]


class Cache(Model):
    """A folder of a shared volume, for what agents download: packages, modules, build results."""

    claim: ObjectName
    """The PersistentVolumeClaim. All runs of the profile share it, and trust what they find."""
    mount_path: Annotated[str, Field(min_length=1, max_length=255)]
    """Where the agent finds it, such as /caches/npm. Tell its tools with `env`."""
    sub_path: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The folder of the volume to mount, made if need be. Default: all of the volume."""
    read_only: bool = False
    """Whether agents can only read it."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "self.mountPath.matches('^(/[A-Za-z0-9._@+-]+)+$')"
            f" && !self.mountPath.{_NO_DOTS}",
            "message": "mountPath must be an absolute path in its shortest form, such as"
            " /caches/npm",
        },
        {
            "rule": f"{list(_TAKEN)}.all(taken, self.mountPath != taken"
            " && !self.mountPath.startsWith(taken + '/')"
            " && !taken.startsWith(self.mountPath + '/'))",
            "message": "mountPath may not hide, or lie in, the folders of the system or the run's"
            f" own ({pod_layout.WORKSPACE}, {pod_layout.HOME}, /tmp): use one such as /caches/npm",
        },
        {
            "rule": "!has(self.subPath) || (self.subPath.matches('^[A-Za-z0-9._@+-][^:]*$')"
            f" && !self.subPath.{_NO_DOTS})",
            "message": "subPath must be a relative path without . and ..",
        },
    ]


class InstructionFile(Model):
    """A file in the agent's home, outside of the repository, that its program reads by itself."""

    path: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """
    Where, below the home. Default: where the backend's agent looks for a user's instructions:
    .codex/AGENTS.md, .claude/CLAUDE.md, .config/opencode/AGENTS.md, .gemini/GEMINI.md.
    """
    text: Text | None = None
    """What it says."""
    config_map: ConfigMapKey | None = None
    """The ConfigMap that holds what it says."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "has(self.text) != has(self.configMap)",
            "message": "an instruction file has either a text or a configMap",
        },
        {
            "rule": f"!has(self.path) || (!self.path.startsWith('/') && !self.path.{_NO_DOTS}"
            f" && !(self.path in {list(_WRITTEN_BY_RUNNER)}))",
            "message": "path must be relative to the agent's home, without . and .., and none of"
            f" {', '.join(_WRITTEN_BY_RUNNER)}, which AgentRun writes",
        },
    ]


class Resources(Model):
    """What the agent's container gets."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = {}  # noqa: RUF012
    """What it is guaranteed."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = {}  # noqa: RUF012
    """What it may use at most."""


class PodSettings(Model):
    """Where and how the pods of runs are placed."""

    node_selector: Annotated[dict[str, str], Field(max_length=32)] = {}  # noqa: RUF012
    """Labels a node must have."""
    tolerations: Annotated[
        list[dict[str, Any]],
        Field(max_length=32, json_schema_extra={"items": {"type": "object", **_PRESERVE}}),
    ] = []  # noqa: RUF012
    """Taints that are put up with, in Kubernetes' form."""
    runtime_class_name: Name | None = None
    """A RuntimeClass, for instance of a sandbox."""
    priority_class_name: Name | None = None
    """A PriorityClass."""
    run_as_user: Annotated[int, Field(ge=1)] = 1000
    """The uid of agent and runner."""
    read_only_root_filesystem: bool = True
    """Whether the agent's image is read-only. /workspace, HOME and /tmp are always writable."""
    workspace_size: Quantity = "10Gi"
    """How much the workspace may hold."""


class SessionSettings(Model):
    """What is kept of conversations, so that they can be continued."""

    max_snapshot_size: Quantity = "512Mi"
    """How large a snapshot of conversation and workspace may be; a larger one is not kept."""


class Children(Model):
    """Which runs the agents of the profile may ask for."""

    profiles: Annotated[list[Name], Field(max_length=32)] = []  # noqa: RUF012
    """The profiles they may name. Empty: their own profile only."""
    max_depth: Annotated[int, Field(ge=0, le=16)] = 1
    """How many generations of runs there may be below a run that a person asked for."""
    max_count: Annotated[int, Field(ge=0, le=1000)] = 10
    """How many runs each may ask for."""
    repositories: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=2048)]], Field(max_length=64)
    ] = []  # noqa: RUF012
    """
    The repositories they may name for these runs besides the one they work on themselves, as in
    `git.repositories`.
    """


class AgentTools(Model):
    """What an agent can do with AgentRun itself."""

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
    """The tools it is offered; empty for none."""
    deliver_messages: Literal["Pull", "BetweenTurns", "Steer"] = "Pull"
    """
    How messages from other agents reach it. `Pull`: it asks for them. `BetweenTurns`: those that
    came meanwhile begin another turn. `Steer`: they are put into the turn that is under way,
    where the agent can take that; else as with `BetweenTurns`.
    """
    children: Children = Children()
    """Which runs it may ask for, where `spawn_run` is allowed."""


class AgentProfileSpec(Model):
    """The image, the model, the credentials and the limits of the runs that use the profile."""

    description: Annotated[str, Field(max_length=4096)] | None = None
    """What the profile is for, for those who choose one."""
    backend: Backend
    """The kind of agent."""
    image: Annotated[str, Field(min_length=1, max_length=1024)]
    """The image with the agent program (docs/agent-image.md says what it must hold)."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""
    image_pull_secrets: Annotated[list[Name], Field(max_length=16)] = []  # noqa: RUF012
    """Secrets of type kubernetes.io/dockerconfigjson."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = []  # noqa: RUF012
    """The agent's ACP command. Default: the backend's."""
    instructions: Annotated[str, Field(max_length=65_536)] | None = None
    """Put before the prompt of each run."""
    instruction_files: Annotated[list[InstructionFile], Field(max_length=16)] = []  # noqa: RUF012
    """Files in the agent's home that its program reads by itself."""
    mcp_servers: Annotated[
        list[McpServer], Field(max_length=32, json_schema_extra=_map("name"))
    ] = []  # noqa: RUF012
    """MCP servers whose tools the agent can use."""
    permission_mode: Literal["Bypass", "Ask"] = "Bypass"
    """
    Whether the agent may do what it likes in its pod, or asks a person: the run is then
    InputRequired, with the choices there are as the question's options.
    """
    sessions: SessionSettings = SessionSettings()
    """What is kept of conversations."""
    agent_tools: AgentTools = AgentTools()
    """What the agent can do with AgentRun itself."""
    models: Models = Models()
    """The models a run may use."""
    provider: Provider = Provider()
    """The provider of the model."""
    env: Annotated[list[EnvVar], Field(max_length=100)] = []  # noqa: RUF012
    """The agent's environment."""
    git: GitSettings = GitSettings()
    """How git workspaces are cloned and pushed."""
    workspace: Workspace | None = None
    """The workspace of a run that names none."""
    volumes: Annotated[list[Name], Field(max_length=32)] = []  # noqa: RUF012
    """PersistentVolumeClaims that a run may name as its workspace."""
    caches: Annotated[list[Cache], Field(max_length=16, json_schema_extra=_map("mountPath"))] = []  # noqa: RUF012
    """Folders of shared volumes for what agents download. Only the agent sees them."""
    network: Network = Network()
    """How the pods reach the network: authorities to trust, and a forward proxy."""
    timeouts: Timeouts = Timeouts()
    """What a run leaves out; a run may ask for less, never for more."""
    resources: Resources = Resources()
    """What the agent's container gets."""
    pod: PodSettings = PodSettings()
    """Where and how pods are placed."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "self.backend != 'acp' || !has(self.instructionFiles)"
            " || self.instructionFiles.all(file, has(file.path))",
            "message": "an instruction file of backend acp needs a path: nobody else knows where"
            " its agent looks",
        },
        {
            "rule": "self.backend != 'remote_a2a' || (self.mcpServers.size() == 0"
            " && self.caches.size() == 0 && !has(self.instructionFiles))",
            "message": "an agent that runs elsewhere gets no mcpServers, caches or"
            " instructionFiles",
        },
    ]


class AgentProfile(Model):
    """What a platform team offers to those who run agents."""

    api_version: str = API_VERSION
    kind: str = "AgentProfile"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentProfileSpec


def default_profile(backend: str) -> str:
    """Name the profile of a run that names none: the backend's name, as Kubernetes spells names."""
    return backend.replace("_", "-")
