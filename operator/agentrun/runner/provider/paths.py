"""
Which methods and paths of the provider's API an agent may ask for. Pure.

The key opens more than models: other tenants' files, stored answers, fine-tuning, administration.
So a request is passed on only if its path, in one canonical form, stands in the backend's table
or in the profile's ``provider.paths``; and what is passed on is that form, not what was asked for.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote

_SAFE = "-._~:@!$&'()+,;="
_MODEL = r"[^/:]+"
_QUERY = frozenset({
    "alt", "api-version", "beta", "client_version",
    "after", "after_id", "before_id", "limit", "order", "pagesize", "pagetoken",
})  # fmt: skip
"""Query parameters that choose nothing but a form of the answer, or a page of a list."""


class Form(Enum):
    """Whose wire format a request has, and so its errors."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"


@dataclass(frozen=True)
class Route:
    """A request that may be passed on."""

    method: str
    path: re.Pattern[str]
    form: Form
    is_work: bool = False
    """Whether a model does work for it: the body must be JSON, and names the model."""
    is_added: bool = False
    """Whether the profile names it, and with it what it needs."""


@dataclass(frozen=True)
class ProviderRequest:
    """A request that stands in the table, in the form in which it is passed on."""

    route: Route
    target: str
    """Path and query."""
    model: str | None = None
    """The model that the path names."""


class NotOfferedError(Exception):
    """The request is not one of those. The text says what to do about it."""


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
    # It asks so whether anybody is there.
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
_TABLES: Mapping[str, Sequence[Route]] = {
    "codex": _RESPONSES,
    "claude_code": _ANTHROPIC,
    "opencode": _CHAT,
    "gemini": _GEMINI,
}
_ANY = (*_RESPONSES, *_CHAT, *_ANTHROPIC, *_GEMINI)
"""For an agent that is not known: what any of them needs of a model."""


def routes_of(backend: str, added: Iterable[str] = ()) -> Sequence[Route]:
    """List what an agent of ``backend`` may ask for, with what its profile adds."""
    form = form_of(backend)
    own = [Route(*_pattern(entry), form, is_added=True) for entry in added]
    return (*_TABLES.get(backend, _ANY), *own)


def form_of(backend: str) -> Form:
    """Tell whose errors an agent of ``backend`` understands, if its request does not say."""
    return {"claude_code": Form.ANTHROPIC, "gemini": Form.GEMINI}.get(backend, Form.OPENAI)


def find(routes: Iterable[Route], method: str, raw: str) -> ProviderRequest:
    """Find the request in the table. NotOffered if it is not there."""
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
        f"The agent's provider is not asked for {method} {canonical[:200]}: it is none of the"
        " requests that such an agent needs. If it is to be allowed, name it in provider.paths of"
        " the AgentProfile."
    )


def canonical_path(raw: str) -> str:
    """
    Write a path in its one form: decoded once, without empty segments. NotOffered if it has none.

    A path that servers understand in several ways is none: with dot segments, with separators or
    percent signs that were encoded, with what ends a path or a line.
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
        f"The path {raw[:200]!r} can be read in several ways, so it is not asked for. Give it"
        " without dot segments and without encoded separators."
    )


def _known_query(query: str) -> str:
    kept = []
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        plain = unquote(name).lower()
        if plain == "key":
            # Where Gemini's clients may put the key, which is the runner's to give.
            continue
        if plain not in _QUERY:
            raise NotOfferedError(
                f"The query parameter {unquote(name)[:100]!r} is not passed on to the provider."
                " Leave it out, or name the path in provider.paths of the AgentProfile."
            )
        kept.append(f"{quote(unquote(name), safe='-_')}={quote(unquote(value), safe=_SAFE)}")
    return "&".join(kept)


def _pattern(entry: str) -> tuple[str, re.Pattern[str]]:
    method, _, path = entry.partition(" ")
    pieces = (re.escape(piece) for piece in path.split("*"))
    return method, re.compile("[^/]*".join(pieces))
