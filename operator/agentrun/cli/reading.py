"""Reading large event fields in chunks, including a run's patch."""

import base64
from collections.abc import AsyncIterator

from agentrun.api.status import TERMINAL_STATUSES
from agentrun.cli.answers import Event, Run
from agentrun.cli.client import Tools
from agentrun.cli.following import all_events
from agentrun.cli.problems import CliError

_PATCH = "/patch"
_TAIL = 100


async def read_field(
    tools: Tools, run_id: str, seq: int, field_path: str, offset: int = 0, most: int | None = None
) -> AsyncIterator[bytes]:
    """Yield a field's bytes from ``offset`` on, at most ``most`` of them."""
    left = most
    while left is None or left > 0:
        limit = min(262_144, left) if left is not None else 262_144
        part = await tools.get_event_artifact(run_id, seq, field_path, offset=offset, limit=limit)
        yield content_of(part.encoding, part.content)
        offset = part.offset + part.returned_bytes
        left = left - part.returned_bytes if left is not None else None
        if not part.has_more or not part.returned_bytes:
            return


def content_of(encoding: str, content: str) -> bytes:
    """Decode the content of a part."""
    return base64.b64decode(content) if encoding == "base64" else content.encode()


async def find_patch(tools: Tools, run: Run) -> Event:
    """Return the newest event that holds the run's patch. Raises CliError if there is none."""
    for after in sorted({max(0, run.last_seq - _TAIL), 0}, reverse=True):
        found = None
        async for event in all_events(tools, run.run_id, after):
            if _PATCH in (event.data.get("artifact_refs") or {}):
                found = event
        if found is not None:
            return found
    if run.status not in TERMINAL_STATUSES:
        raise CliError(
            f"{run.run_id} is {run.status}, and its patch is created at the end:"
            f" `agentrun runs wait {run.run_id}` waits for it"
        )
    raise CliError(
        f"{run.run_id} has no patch: it changed nothing, or had no git repository (--repo)"
    )
