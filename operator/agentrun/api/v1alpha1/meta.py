"""The parts of Kubernetes' own types that every kind here uses."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentrun.api.base import Model, ObjectName, Time


class OwnerReference(Model):
    """The owner of an object, with which the object is deleted."""

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
    """One observed condition of an object, in the form of metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """The type of the condition, in CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """The status of the condition: True, False or Unknown."""
    reason: Annotated[str, Field(max_length=256)] = ""
    """The reason for the status, as one word in CamelCase."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """A human-readable explanation of the status."""
    last_transition_time: Time | None = None
    """The last time that `status` changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The `metadata.generation` at which the condition was observed."""


DataKey = Annotated[str, Field(max_length=253, pattern=r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")]
"""A key in the data of a Secret or ConfigMap; it cannot be the name of a folder."""

EnvName = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class SecretKey(Model):
    """One key of a Secret in the same namespace."""

    name: ObjectName
    """The name of the Secret."""
    key: DataKey
    """The key in the data of the Secret."""


class ConfigMapKey(Model):
    """One key of a ConfigMap in the same namespace."""

    name: ObjectName
    """The name of the ConfigMap."""
    key: DataKey
    """The key in the data of the ConfigMap."""


class EnvVar(Model):
    """A variable of a program's environment."""

    name: EnvName
    """The name of the variable."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value, in plain text. Use `secret` for a confidential value."""
    secret: SecretKey | None = None
    """The Secret key that contains the value. The agent can read it; it is redacted from events."""

    RULES: ClassVar[Sequence[dict[str, str]]] = [
        {
            "rule": "!(has(self.value) && has(self.secret))",
            "message": "a variable has either a value or a secret",
        },
    ]
