"""
The shape all API models share.

Python spells fields in snake_case, Kubernetes in camelCase; the alias generator is the only
place that knows both. Bounds live in the annotated types here, because an unbounded string or
list anywhere makes the API server refuse the whole CRD: its CEL cost budget is computed from
the worst case.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP = "agentrun.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


def _camel(name: str) -> str:
    """Spell a field as Kubernetes does: initialisms stay upper case (sessionID, costUSD)."""
    spelled = to_camel(name)
    for plain, initialism in (("Id", "ID"), ("Usd", "USD"), ("Url", "URL"), ("Uid", "UID")):
        if spelled.endswith(plain):
            return spelled.removesuffix(plain) + initialism
    return spelled


class Model(BaseModel):
    """A part of an API object: camelCase outside, snake_case inside, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )

    RULES: ClassVar[Sequence[dict[str, str]]] = ()
    """CEL rules that the API server enforces on this part of an object."""
    IMMUTABLE: ClassVar[Sequence[str]] = ()
    """Fields, as Kubernetes spells them, that never change once the object exists."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        rules = list(cls.RULES)
        for name in cls.IMMUTABLE:
            # A rule on the field itself is not asked when the field comes or goes, and one on
            # the whole object costs the API server's budget many times over: so, both.
            message = f"{name} is immutable: create another {cls.__name__.removesuffix('Spec')}"
            field_rule = {"rule": "self == oldSelf", "message": message}
            schema["properties"][name]["x-kubernetes-validations"] = [field_rule]
            if name not in schema.get("required", ()):
                presence = f"has(self.{name}) == has(oldSelf.{name})"
                rules.append({"rule": presence, "message": message})
        if rules:
            schema["x-kubernetes-validations"] = rules
        return reference

    def to_json(self) -> dict[str, Any]:
        """Render as the API server stores it: aliases, no nulls, JSON values only."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_utc(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _rfc3339(value: datetime) -> str:
    """Write whole seconds in UTC with a Z, the form of metav1.Time."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    datetime, BeforeValidator(_as_utc), PlainSerializer(_rfc3339, return_type=str, when_used="json")
]
"""A point in time, as Kubernetes writes it: RFC 3339, UTC, whole seconds."""

Name = Annotated[
    str,
    Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
]
"""The name of a Kubernetes object that must also fit a label value (RFC 1123 label)."""

Line = Annotated[str, Field(max_length=1024)]
"""One line for people."""

Text = Annotated[str, Field(max_length=32_768)]
"""Prose: a message, a question, a summary."""

Token = Annotated[str, Field(min_length=1, max_length=256)]
"""An opaque word, such as an id or the name of a model."""

Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
"""A duration in seconds, at most a year."""

Json = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""Any JSON object; kept and returned as it is."""
