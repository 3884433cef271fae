"""
The base class and the field types of all API models.

Fields are snake_case in Python and camelCase in Kubernetes; only the alias generator converts
between them. The annotated types here have size limits, because the API server rejects a whole CRD
for one unbounded string or list: it computes the CEL cost budget from the worst case.
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
    """Return the Kubernetes name of a field; initialisms are upper case (sessionID, costUSD)."""
    spelled = to_camel(name)
    for plain, initialism in (("Id", "ID"), ("Usd", "USD"), ("Url", "URL"), ("Uid", "UID")):
        if spelled.endswith(plain):
            return spelled.removesuffix(plain) + initialism
    return spelled


class Model(BaseModel):
    """A part of an API object: camelCase in JSON, snake_case in Python, unknown fields ignored."""

    model_config = ConfigDict(
        alias_generator=_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
        extra="ignore",
    )

    RULES: ClassVar[Sequence[dict[str, Any]]] = ()
    """CEL rules that the API server enforces on this part of an object."""
    IMMUTABLE: ClassVar[Sequence[str]] = ()
    """The camelCase names of fields that are immutable once the object exists."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        rules = list(cls.RULES)
        for name in cls.IMMUTABLE:
            # A rule on the field itself is not evaluated when the field is added or removed, and
            # one on the whole object exceeds the CEL cost budget many times over: so, both.
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
        """Return the JSON form that the API server stores: by alias, without nulls."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_utc(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def rfc3339(value: datetime) -> str:
    """
    Format in milliseconds in UTC with a Z.

    metav1.Time has whole seconds, rounded down: an effect would be dated before its cause.
    """
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[
    datetime, BeforeValidator(_as_utc), PlainSerializer(rfc3339, return_type=str, when_used="json")
]
"""A timestamp in the form of Kubernetes: RFC 3339, UTC, with milliseconds."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

MAX_NAME = 63
"""The limit of a label value."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=f"^{_LABEL}$")]
"""The name of a Kubernetes object that must also fit a label value (RFC 1123 label)."""

ObjectName = Annotated[str, Field(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""The name of an object that need not fit a label (RFC 1123 subdomain)."""


def name_rule(kind: str, limit: int) -> dict[str, Any]:
    """Return the CEL rule that refuses new objects with a name that is no label of that length."""
    return {
        "rule": f"oldSelf.hasValue() || (size(self.metadata.name) <= {limit}"
        f" && self.metadata.name.matches('^{_LABEL}$'))",
        "message": f"the name of an {kind} may have at most {limit} characters, of a-z, 0-9 and -,"
        " and begins and ends with a letter or digit",
        # Objects of earlier versions can still be changed, to finish and to be deleted.
        "optionalOldSelf": True,
    }


Line = Annotated[str, Field(max_length=1024)]
"""One line of human-readable text."""

Text = Annotated[str, Field(max_length=32_768)]
"""Human-readable text: a message, a question, a summary."""

Token = Annotated[str, Field(min_length=1, max_length=256)]
"""An opaque identifier, such as an id or the name of a model."""

Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
"""A duration in seconds, at most a year."""

Json = Annotated[
    dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]
"""Any JSON object; stored and returned unchanged."""
