"""
The MCP resources: runs, their journals, and the profiles.

The contents of a resource equal the results of the corresponding tool.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp_types import Annotations
from pydantic import BaseModel

from mcp_server.schemas.answer_size import within
from mcp_server.schemas.run_views import run_view, status_of
from mcp_server.tools.context import ToolContext, tool_errors
from mcp_server.tools.run_lookup import is_reused, resolve, resolve_after, run_id_of

RUN_URI = "agentrun://{namespace}/runs/{run_id}"
JOURNAL_URI = f"{RUN_URI}/journal{{?after_seq,limit}}"
PROFILES_URI = "agentrun://{namespace}/profiles"
LAST_EVENTS = 100
"""The default number of events of a journal."""
MAX_EVENTS = 1000
_JSON = "application/json"
_FOLLOWED = re.compile(r"agentrun://([^/?#]+)/runs/([^/?#]+)(?:/journal)?(?:\?.*)?")


class ProfileView(BaseModel):
    """A profile that runs may use."""

    name: str
    backend: str
    description: str | None
    models: dict[str, Any]


def run_of(uri: str) -> tuple[str, str] | None:
    """Return the namespace and run_id in the URI of a run or journal; None for other URIs."""
    found = _FOLLOWED.fullmatch(uri)
    return (found[1], found[2]) if found else None


def add_resources(server: MCPServer, context: ToolContext) -> None:
    """Register the resources."""

    @server.resource(
        RUN_URI,
        name="run",
        title="A run",
        description="A run's status and result, as get_run returns them.",
        mime_type=_JSON,
        annotations=Annotations(audience=["user", "assistant"]),
    )
    async def run(namespace: str, run_id: str) -> str:
        with _not_found():
            row = await resolve(context, run_id, None, None, namespace)
            row = await context.with_last_event(row)
            return run_view(row, is_reused=await is_reused(context, row)).model_dump_json()

    @server.resource(
        JOURNAL_URI,
        name="journal",
        title="A run's journal",
        description=f"A run's events, in order: the last {LAST_EVENTS}, or those after after_seq.",
        mime_type=_JSON,
    )
    async def journal(
        namespace: str, run_id: str, after_seq: str = "", limit: str = str(LAST_EVENTS)
    ) -> str:
        with _not_found():
            seq = _number("after_seq", after_seq) if after_seq else 0
            row = await resolve_after(context, seq, run_id, None, None, namespace)
            row = await context.with_last_event(row)
            most = min(max(1, _number("limit", limit)), MAX_EVENTS)
            after = seq if after_seq else max(0, row.last_seq - most)
            found = await context.store.read(row.run.metadata.uid, after, most)
            # Without after_seq, the last events: of those, the last that fit.
            events = within(found) if after_seq else within(found[::-1])[::-1]
            return json.dumps(
                {
                    "run_id": await run_id_of(context, row),
                    "uid": row.run.metadata.uid,
                    "status": status_of(row),
                    "events": [event.model_dump(mode="json") for event in events],
                    "next_after_seq": events[-1].seq if events else after,
                    "last_seq": row.last_seq,
                },
                ensure_ascii=False,
            )

    @server.resource(
        PROFILES_URI,
        name="profiles",
        title="Profiles",
        description="The AgentProfiles of a namespace, for spawn_run's profile and model.",
        mime_type=_JSON,
    )
    async def profiles(namespace: str) -> str:
        with _not_found():
            cached = context.runs.profiles.all(await context.policy().namespace(namespace))
            views = [
                ProfileView(
                    name=one.metadata.name,
                    backend=one.spec.backend,
                    description=one.spec.description,
                    models=one.spec.models.to_json(),
                ).model_dump()
                for one in sorted(cached, key=lambda one: one.metadata.name)
            ]
            return json.dumps({"profiles": views}, ensure_ascii=False)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise ResourceNotFoundError(f"{name} must be a whole number, not {text[:64]!r}.")
    return int(text)


@contextmanager
def _not_found() -> Iterator[None]:
    """Convert tool errors to ResourceNotFoundError, with the same message."""
    try:
        with tool_errors():
            yield
    except ToolError as error:
        raise ResourceNotFoundError(str(error)) from error
