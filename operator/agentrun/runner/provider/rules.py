"""The rules for requests to the provider, from profile and backend. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentrun.api.v1alpha1 import AgentProfileSpec
from agentrun.backends import backend_of
from agentrun.backends.backend import ProviderApi
from agentrun.runner.provider.bodies import Named
from agentrun.runner.provider.paths import Form, ProviderRequest, Route, form_of, routes_of

# An allowlist: an unknown header may choose an organisation, a project, another method.
_PASSED = frozenset({
    "accept", "accept-encoding", "accept-language", "content-type", "user-agent",
    "anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access",
    "openai-beta", "x-app", "x-goog-api-client", "x-client-request-id", "x-request-id",
    "originator", "version", "session_id", "conversation_id", "session-id", "thread-id",
    "traceparent", "tracestate",
})  # fmt: skip
_PASSED_PREFIXES = ("x-stainless-", "x-codex-", "x-claude-code-")
NEVER_PASSED = frozenset({
    "authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie", "host", "content-length",
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "content-encoding", "expect",
})  # fmt: skip
"""Headers that the runner sets itself, or that concern one connection."""
_MEDIA = ("multipart/", "application/octet-stream")


class RequestRefusedError(Exception):
    """The profile does not allow the request. The message says what to do about it."""


@dataclass(frozen=True)
class Rules:
    """What the agents of a profile may request from their provider."""

    routes: Sequence[Route]
    form: Form = Form.OPENAI
    models: frozenset[str] = frozenset()
    """The models that may be used; empty for any."""
    headers: frozenset[str] = frozenset()
    """Headers that the profile allows in addition to the known ones, in lower case."""
    may_name_stored: bool = False
    """Whether requests may refer to objects in the provider's account."""

    @classmethod
    def of(cls, profile: AgentProfileSpec, model: str | None) -> "Rules":
        """Make the rules of a run of ``profile`` with the given ``model``."""
        allowed = profile.models.allowed
        own = [one for one in (profile.models.default, model) if one]
        provider, api = profile.provider, backend_of(profile.backend).provider_api
        return cls(
            routes_of(api, provider.paths),
            form_of(api),
            frozenset(map(_bare, [*allowed, *own])) if allowed else frozenset(),
            frozenset(name.lower() for name in provider.headers),
            provider.stored_objects,
        )

    def passed(self, headers: Iterable[tuple[str, str]], with_key: bool) -> dict[str, str]:
        """
        Return the headers to pass on; they include the agent's own key if the runner has none.
        """
        keys = frozenset() if with_key else frozenset({"authorization", "x-api-key"})
        return {
            name: value
            for name, value in headers
            if (low := name.lower()) in keys | ({"x-goog-api-key"} if keys else set())
            or (low not in NEVER_PASSED and self._is_passed(low))
        }

    def _is_passed(self, name: str) -> bool:
        return name in _PASSED or name.startswith(_PASSED_PREFIXES) or name in self.headers

    def check(self, asked: ProviderRequest, named: Named) -> None:
        """Check a request against the profile. Raises RequestRefusedError if it is not allowed."""
        models = named.models | ({asked.model} if asked.model else set())
        if self.models and asked.route.is_work and not models:
            raise RequestRefusedError(
                "The request names no model, and the profile allows only some."
            )
        others = sorted(one for one in models if _bare(one) not in self.models)
        if self.models and others:
            raise RequestRefusedError(
                f"The profile does not allow model {others[0][:200]!r}. It allows: "
                f"{', '.join(sorted(self.models))}. Add it to models.allowed of the AgentProfile,"
                " or have the agent use one of these."
            )
        if named.stored and not self.may_name_stored:
            raise RequestRefusedError(
                f"The request refers to an object that is stored at the provider ({named.stored})."
                " The key may give access to the objects of others, so the AgentProfile has to"
                " allow this with provider.storedObjects."
            )


def key_headers(api: ProviderApi | None, key: str) -> dict[str, str]:
    """Return the headers in which a provider with this API takes its key."""
    if api is ProviderApi.MESSAGES:
        return {"x-api-key": key}
    if api is ProviderApi.GENERATE_CONTENT:
        return {"x-goog-api-key": key}
    return {"authorization": f"Bearer {key}"}


def needs_json(asked: ProviderRequest, headers: Mapping[str, str]) -> bool:
    """Whether the body must be JSON: on a path that the profile adds, it may be a file."""
    kind = next((v for k, v in headers.items() if k.lower() == "content-type"), "")
    return not (asked.route.is_added and kind.strip().lower().startswith(_MEDIA))


def error_body(form: Form, status: int, message: str) -> dict[str, Any]:
    """
    Return an error body in the wire format of ``form``, which the provider's clients understand.
    """
    kind, code = _ERRORS.get(status, ("invalid_request_error", "INVALID_ARGUMENT"))
    if form is Form.ANTHROPIC:
        return {"type": "error", "error": {"type": kind, "message": message}}
    if form is Form.GEMINI:
        return {"error": {"code": status, "message": message, "status": code}}
    return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


_ERRORS = {
    403: ("permission_error", "PERMISSION_DENIED"),
    404: ("not_found_error", "NOT_FOUND"),
    408: ("timeout_error", "DEADLINE_EXCEEDED"),
    413: ("request_too_large", "INVALID_ARGUMENT"),
    429: ("rate_limit_error", "RESOURCE_EXHAUSTED"),
    502: ("provider_unreachable", "UNAVAILABLE"),
}


def _bare(model: str) -> str:
    """Return a model's name without ``models/``, which Gemini's names may have."""
    return model.removeprefix("models/")
