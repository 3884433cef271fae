"""The parts of Kubernetes' own types that every kind here uses."""

from typing import Annotated, Literal

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


class SecretKey(Model):
    """One key of a Secret in the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in it."""
