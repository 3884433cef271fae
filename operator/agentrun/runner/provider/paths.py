"""
The methods and paths of the provider's API that an agent may request. Pure.

The key gives access to more than models: other tenants' files, stored responses, fine-tuning,
administration. A request is passed on only if its path, in canonical form, is in the table of
the backend's API or in the profile's ``provider.paths``; the canonical form is what is passed on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain
from urllib.parse import quote, unquote

from agentrun.backends.backend import ProviderApi

_SAFE = "-._~:@!$&'()+,;="
_MODEL = r"[^/:]+"
_QUERY = frozenset({
    "alt", "api-version", "beta", "client_version",
    "after", "after_id", "before_id", "limit", "order", "pagesize", "pagetoken",
})  # fmt: skip
"""Query parameters that only choose a form of the response, or a page of a list."""


class Form(Enum):
    """The wire format of a request, and of its errors."""

    OPENAI = auto()
    ANTHROPIC = auto()
    GEMINI = auto()


@dataclass(frozen=True)
class Route:
    """A request that may be passed on."""

    method: str
    path: re.Pattern[str]
    form: Form
    is_work: bool = False
    """Whether a model processes it: the body must be JSON, and names the model."""
    is_added: bool = False
    """Whether it comes from the profile's ``provider.paths``."""


@dataclass(frozen=True)
class ProviderRequest:
    """A request that matches a route, in the form in which it is passed on."""

    route: Route
    target: str
    """Path and query."""
    model: str | None = None
    """The model that the path names."""


class NotOfferedError(Exception):
    """The request matches no route. The message says what to do about it."""


def _route(method: str, path: str, form: Form, *, is_work: bool = False) -> Route:
    return Route(method, re.compile(path), form, is_work)


def _openai(path: str) -> Sequence[Route]:
    return (
        _route("POST", f"(/v1)?{path}", Form.OPENAI, is_work=True),
        _route("GET", rf"(/v1)?/models(/{_MODEL})?", Form.OPENAI),
    )


_RESPONSES = (*_openai("/responses"), *_openai("/responses/compact"))
_CHAT = _openai("/chat/completions")
_ANTHROPIC = (
    _route("POST", "(/v1)?/messages", Form.ANTHROPIC, is_work=True),
    _route("POST", "(/v1)?/messages/count_tokens", Form.ANTHROPIC, is_work=True),
    _route("GET", rf"(/v1)?/models(/{_MODEL})?", Form.ANTHROPIC),
    # Claude Code's connectivity check.
    _route("HEAD", "/", Form.ANTHROPIC),
)
_GEMINI_WORK = "generateContent|streamGenerateContent|countTokens"
_GEMINI = (
    _route(
        "POST",
        rf"(/v1(alpha|beta)?)?/models/(?P<model>{_MODEL}):({_GEMINI_WORK})",
        Form.GEMINI,
        is_work=True,
    ),
    _route("GET", rf"(/v1(alpha|beta)?)?/models(/{_MODEL})?", Form.GEMINI),
)
_TABLES: Mapping[ProviderApi, Sequence[Route]] = {
    ProviderApi.RESPONSES: _RESPONSES,
    ProviderApi.CHAT_COMPLETIONS: _CHAT,
    ProviderApi.MESSAGES: _ANTHROPIC,
    ProviderApi.GENERATE_CONTENT: _GEMINI,
}
_FORMS = {
    ProviderApi.MESSAGES: Form.ANTHROPIC,
    ProviderApi.GENERATE_CONTENT: Form.GEMINI,
}


def routes_of(api: ProviderApi | None, added: Iterable[str] = ()) -> Sequence[Route]:
    """Return the routes of an API, or of all, with those that a profile adds."""
    own = [Route(*_pattern(entry), form_of(api), is_added=True) for entry in added]
    tables = _TABLES.values() if api is None else [_TABLES[api]]
    return (*chain.from_iterable(tables), *own)


def form_of(api: ProviderApi | None) -> Form:
    """Return the wire format of an API, for errors of requests that match no route."""
    return Form.OPENAI if api is None else _FORMS.get(api, Form.OPENAI)


def find(routes: Iterable[Route], method: str, raw: str) -> ProviderRequest:
    """Match a request to a route. Raises NotOfferedError if none matches."""
    path, _, query = raw.partition("?")
    canonical = canonical_path(path)
    for route in routes:
        found = route.path.fullmatch(canonical)
        if found is None or route.method != method:
            continue
        if not route.is_added:
            query = _known_query(query)
        return ProviderRequest(
            route,
            quote(canonical, safe="/" + _SAFE) + (f"?{query}" if query else ""),
            found.groupdict().get("model"),
        )
    raise NotOfferedError(
        f"{method} {canonical[:200]} is not sent to the provider: it is not among the requests"
        " that such an agent needs. To allow it, add it to provider.paths of the AgentProfile."
    )


def canonical_path(raw: str) -> str:
    """
    Return a path's canonical form: decoded once, without empty segments.

    Raises NotOfferedError for a path that servers interpret in several ways: with dot segments,
    with encoded separators or percent signs, or with characters that end a path or a line.
    """
    segments = []
    for segment in raw.split("/"):
        try:
            text = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            raise _ambiguous(raw) from None
        if text in (".", "..") or any(one in "/\\%?#;" or not one.isprintable() for one in text):
            raise _ambiguous(raw)
        if text:
            segments.append(text)
    return "/" + "/".join(segments)


def _ambiguous(raw: str) -> NotOfferedError:
    return NotOfferedError(
        f"The path {raw[:200]!r} is ambiguous, so it is not sent to the provider. Use a path"
        " without dot segments and without encoded separators."
    )


def _known_query(query: str) -> str:
    kept = []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        plain = unquote(name).lower()
        if plain == "key":
            # Gemini's clients may put the key here, which the runner adds itself.
            continue
        if plain not in _QUERY:
            raise NotOfferedError(
                f"The query parameter {unquote(name)[:100]!r} is not forwarded to the provider."
                " Omit it, or add the path to provider.paths of the AgentProfile."
            )
        kept.append(f"{quote(unquote(name), safe='-_')}={quote(unquote(value), safe=_SAFE)}")
    return "&".join(kept)


def _pattern(entry: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = entry.partition(" ")
    pieces = (re.escape(piece) for piece in path.split("*"))
    return method, re.compile("[^/]*".join(pieces))
