"""AgentProfile: what a platform team offers to those who run agents."""

from typing import Annotated, Any, Literal

from pydantic import Field

from agentrun.api.base import API_VERSION, Line, Model, Name, Token
from agentrun.api.v1alpha1.meta import ObjectMeta, SecretKey
from agentrun.api.v1alpha1.run import Timeouts, Workspace
from agentrun.api.v1alpha1.vocabulary import Backend

EnvName = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Quantity = Annotated[
    str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i)?$")
]
_PRESERVE: Any = {"x-kubernetes-preserve-unknown-fields": True}


class Models(Model):
    """The models a run may use."""

    default: Token | None = None
    """The model of a run that names none. Default: the agent's own choice."""
    allowed: Annotated[list[Token], Field(max_length=100)] = []  # noqa: RUF012
    """The models a run may name; empty for any."""


class Provider(Model):
    """The provider of the model. The runner speaks to it, so the agent never holds the key."""

    base_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """The provider's API. Default: the backend's own (Anthropic's, OpenAI's)."""
    key_secret: SecretKey | None = None
    """The Secret that holds the API key."""


class EnvVar(Model):
    """A variable of the agent's environment."""

    name: EnvName
    """The variable."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value, in the open."""
    secret: SecretKey | None = None
    """The Secret that holds its value. The agent can read it; it is redacted from events."""


class GitSettings(Model):
    """How git workspaces are cloned and pushed."""

    credentials_secret: Name | None = None
    """A Secret of type kubernetes.io/basic-auth or ssh-auth. Only the runner sees it."""
    push: bool = True
    """Push the change's branch, where there are credentials."""
    author_name: Line | None = None
    """The author of the runner's commits. Default: AgentRun."""
    author_email: Line | None = None
    """Their address."""


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
    timeouts: Timeouts = Timeouts()
    """What a run leaves out; a run may ask for less, never for more."""
    resources: Resources = Resources()
    """What the agent's container gets."""
    pod: PodSettings = PodSettings()
    """Where and how pods are placed."""


class AgentProfile(Model):
    """What a platform team offers to those who run agents."""

    api_version: str = API_VERSION
    kind: str = "AgentProfile"
    metadata: ObjectMeta = ObjectMeta()
    spec: AgentProfileSpec


def default_profile(backend: str) -> str:
    """Name the profile of a run that names none: the backend's name, as Kubernetes spells names."""
    return backend.replace("_", "-")
