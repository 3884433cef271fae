"""The parts of Kubernetes' own types that every kind here uses."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import Model, Time


class OwnerReference(Model):
    """Who an object belongs to, and goes with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None


class ObjectMeta(Model):
    """The metadata of an object, as far as it is used here."""

    name: str = ""
    generate_name: str | None = None
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = {}  # noqa: RUF012
    annotations: dict[str, str] = {}  # noqa: RUF012
    owner_references: list[OwnerReference] = []  # noqa: RUF012

    @property
    def version(self) -> int:
        """
        The resource version as a number, by which an object's states compare; 0 if it has none.

        The API server promises since 1.35, and etcd always did, that versions are comparable.
        """
        return int(self.resource_version) if self.resource_version.isdecimal() else 0


class Condition(Model):
    """One fact about an object, in the form of metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """The fact."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """Why, in one word."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why, in a sentence."""
    last_transition_time: Time | None = None
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation it was observed at."""


ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")]
"""The name of an object that need not fit a label (RFC 1123 subdomain)."""

DataKey = Annotated[str, Field(max_length=253, pattern=r"^[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")]
"""A key in the data of a Secret or ConfigMap; none that could name a folder."""

EnvName = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class SecretKey(Model):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """The Secret's name."""
    key: DataKey
    """The key in it."""


class ConfigMapKey(Model):
    """One key of a ConfigMap in the same namespace."""

    name: ObjectName
    """The ConfigMap's name."""
    key: DataKey
    """The key in it."""


class EnvVar(Model):
    """A variable of a program's environment."""

    name: EnvName
    """The variable."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """Its value, in the open."""
    secret: SecretKey | None = None
    """The Secret that holds its value. The agent can read it; it is redacted from events."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "!(has(self.value) && has(self.secret))",
            "message": "a variable has either a value or a secret",
        },
    ]
