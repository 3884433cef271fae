"""
Checks Host and Origin headers, against DNS rebinding.

The owner of a web page can make its host name resolve to any address. Therefore only hosts that
nobody outside can own are accepted: IP addresses, localhost, names without a dot, and the cluster's
own names; and those that the environment adds.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_INTERNAL = (".svc", ".cluster.local", ".localhost")


def is_allowed_host(host: str, allowed: Sequence[str]) -> bool:
    """
    Return whether ``host``, with or without a port, is accepted.

    An entry of ``allowed`` that begins with a dot matches all names with that suffix; ``*``
    matches all.
    """
    if "*" in allowed:
        return True
    name = _hostname(host)
    if not name:
        return False
    if _is_address(name) or "." not in name or name.endswith(_INTERNAL):
        return True
    return any(name == entry or (entry[0] == "." and name.endswith(entry)) for entry in allowed)


class HostCheck:
    """Responds 421 for a Host and 403 for an Origin that is not accepted, before all else."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = tuple(name.lower().rstrip(".") for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then pass it on."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not is_allowed_host(host, self._allowed):
            text = f"Host {host!r} is not served here: add it to AGENTRUN_ALLOWED_HOSTS.\n"
            return PlainTextResponse(text, status_code=421)
        if origin and not is_allowed_host(urlsplit(origin).netloc, self._allowed):
            text = f"Origin {origin!r} is not allowed: add it to AGENTRUN_ALLOWED_HOSTS.\n"
            return PlainTextResponse(text, status_code=403)
        return None


def _hostname(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
