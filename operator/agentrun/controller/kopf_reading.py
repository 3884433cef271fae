"""
Makes kopf parse responses of the API server with ``read_answer``.

kopf's own parsing ends all watches, of all namespaces, when one object is nested deeper than the
standard parser supports. kopf has no setting for it, so two names of one of its modules are
replaced: ``get``, which lists, and ``json``, with which ``stream`` parses the lines of a watch. A
test lists and watches through kopf, so that a change in kopf is detected.
"""

from types import SimpleNamespace
from typing import Any

from kopf._cogs.clients import api

from agentrun.kube.client import read_answer


def read_within_bounds() -> None:
    """Patch kopf for the lifetime of the process. This is idempotent."""
    for name, ours in (("get", _get), ("json", SimpleNamespace(loads=_loads))):
        setattr(api, name, ours)


async def _get(url: str, **options: Any) -> Any:
    response = await api.request(method="get", url=url, **options)
    async with response:
        return read_answer(await response.read())


def _loads(line: str) -> Any:
    return read_answer(line.encode())
