"""An answer fits what clients take, and show to their model."""

from dataclasses import dataclass
from typing import Any

import pytest
from mcp_types import TextContent
from pydantic import BaseModel

from agentrun.api.events import EventType
from agentrun.api.gateway import blob_key
from agentrun.kube.resources import RUNS, SESSIONS
from mcp_server.schemas.answer_size import shown_bytes, within
from tests.unit.mcp_server.cluster import run, session
from tests.unit.mcp_server.conftest import Bench
from tests.unit.mcp_server.test_run_sync import until_phase

CLIENTS_TAKE = 1024 * 1024
CLIENTS_SHOW = 40_000
"""Characters: less than what Claude Code and Codex show of a result."""
COUNT = 100
FILLED = 0.4
"""An answer that has more to come is not much smaller than it may be."""
QUOTES, CONTROLS, LETTERS, ACCENTS = '"' * 4000, "\x01" * 4000, "x" * 4000, "é" * 2000
TEXTS = pytest.mark.parametrize(
    "text", [QUOTES, CONTROLS, LETTERS, ACCENTS], ids=["quotes", "controls", "letters", "accents"]
)


class Item(BaseModel):
    text: str
    values: list[int] = []


@dataclass
class Answered:
    content: dict[str, Any]
    sent: int
    """In bytes, with both representations."""
    shown: int
    """In characters: the longer of the two."""


async def answered(bench: Bench, tool: str, **arguments: Any) -> Answered:
    result = await bench.client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    [block] = result.content
    assert isinstance(block, TextContent)
    sent = len(result.model_dump_json(by_alias=True).encode())
    return Answered(result.structured_content, sent, len(block.text))


@pytest.mark.parametrize(
    ("most", "kept"), [(1, 1), (100, 1), (150, 2), (10_000, 3)], ids=["one", "less", "two", "all"]
)
def test_as_many_items_as_fit_are_kept_and_at_least_one(most: int, kept: int) -> None:
    items = [Item(text=str(number)) for number in range(3)]
    assert [shown_bytes(item) for item in items] == [61] * 3
    assert within(items, most) == items[:kept]


@TEXTS
async def test_a_page_of_events_fits_and_the_next_continues(bench: Bench, text: str) -> None:
    name = (await bench.spawn())["run_id"]
    data = {"text": text[:2000], "more": [list(range(50))]}
    await bench.say(name, *[(EventType.AGENT_MESSAGE, data)] * 20)
    seen, after, sizes = list[int](), 0, list[int]()
    while len(seen) < 20:
        page = await answered(bench, "poll_events", run_id=name, after_seq=after, limit=1000)
        sizes.append(page.shown)
        seen += [event["seq"] for event in page.content["events"]]
        after = page.content["next_after_seq"]
        # Who is shown only the beginning of a page has its cursor.
        assert list(page.content).index("next_after_seq") < list(page.content).index("events")
    assert seen == list(range(1, 21))
    assert len(sizes) > 1
    assert max(sizes) < CLIENTS_SHOW
    assert sizes[0] > CLIENTS_SHOW * FILLED


@TEXTS
@pytest.mark.parametrize("limit", [{}, {"limit": 262_144}], ids=["default", "largest"])
async def test_a_part_of_an_artifact_fits_and_the_next_continues(
    bench: Bench, text: str, limit: dict[str, int]
) -> None:
    name = (await bench.spawn())["run_id"]
    uid = (await bench.row(name)).run.metadata.uid
    whole = (text * 100)[:300_000]
    await bench.blobs.put(blob_key(uid, "a/x.txt"), whole.encode(), "text/plain")
    ref = {
        "field_path": "/output",
        "relpath": "a/x.txt",
        "mime": "text/plain",
        "total_bytes": len(whole.encode()),
    }
    data = {"output": "...", "artifact_refs": {"/output": ref}}
    await bench.say(name, (EventType.COMMAND_FINISHED, data))
    parts, offset, has_more = list[str](), 0, True
    while has_more:
        asked = {"run_id": name, "seq": 1, "field_path": "/output", **limit}
        part = await answered(bench, "get_event_artifact", offset=offset, **asked)
        assert part.sent < CLIENTS_TAKE if limit else part.shown < CLIENTS_SHOW
        parts.append(part.content["content"])
        offset += part.content["returned_bytes"]
        has_more = part.content["has_more"]
    assert "".join(parts) == whole


@pytest.mark.parametrize(("tool", "key"), [("list_runs", "runs"), ("list_agents", "agents")])
async def test_a_page_of_a_list_fits_and_the_next_continues(
    bench: Bench, tool: str, key: str
) -> None:
    told = {f"key-{number}": '"' * 1000 for number in range(8)}
    names = [f"run-{number:03}" for number in range(COUNT)]
    for name in names:
        bench.cluster.add(SESSIONS, "team-a", session(name))
        bench.cluster.add(
            RUNS, "team-a", run(name, metadata=told, workspace={"cwd": "/workspace/" + "x" * 1000})
        )
    await until_phase(bench, names[-1], "Queued")
    shown, cursor = list[str](), None
    for _ in names:
        page = await answered(bench, tool, limit=COUNT, cursor=cursor)
        assert page.shown < CLIENTS_SHOW
        shown += [one.get("run_id") or one["agent_name"] for one in page.content[key]]
        cursor = page.content["next_cursor"]
        if cursor is None:
            break
    assert sorted(shown) == names
