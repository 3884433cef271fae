"""An answer fits what clients take: the SDK's own give up on one above 1 MiB."""

from typing import Any

import pytest
from pydantic import BaseModel

from agentrun.api.events import EventType
from agentrun.api.gateway import blob_key
from agentrun.kube.resources import RUNS, SESSIONS
from mcp_server.schemas.answer_size import sent_bytes, within
from tests.unit.mcp_server.cluster import run, session
from tests.unit.mcp_server.conftest import Bench
from tests.unit.mcp_server.test_run_sync import until_phase

CLIENTS_TAKE = 1024 * 1024
COUNT = 100
FILLED = 0.5
"""An answer that has more to come is not much smaller than it may be."""
QUOTES, CONTROLS, LETTERS, ACCENTS = '"' * 4000, "\x01" * 4000, "x" * 4000, "é" * 2000
TEXTS = pytest.mark.parametrize(
    "text", [QUOTES, CONTROLS, LETTERS, ACCENTS], ids=["quotes", "controls", "letters", "accents"]
)


class Item(BaseModel):
    text: str
    values: list[int] = []


async def answered(bench: Bench, tool: str, **arguments: Any) -> tuple[dict[str, Any], int]:
    """Call a tool; return its answer, and how many bytes of it came."""
    result = await bench.client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert isinstance(result.structured_content, dict)
    return result.structured_content, len(result.model_dump_json(by_alias=True).encode())


@pytest.mark.parametrize(
    ("most", "kept"), [(1, 1), (150, 1), (250, 2), (10_000, 3)], ids=["one", "less", "two", "all"]
)
def test_as_many_items_as_fit_are_kept_and_at_least_one(most: int, kept: int) -> None:
    items = [Item(text=str(number)) for number in range(3)]
    assert [sent_bytes(item) for item in items] == [100] * 3
    assert within(items, most) == items[:kept]


@TEXTS
async def test_a_page_of_events_fits_and_the_next_continues(bench: Bench, text: str) -> None:
    name = (await bench.spawn())["run_id"]
    data = {"text": text, "more": [list(range(50))] * 5}
    for _ in range(4):
        await bench.say(name, *[(EventType.AGENT_MESSAGE, data)] * 50)
    seen, after, sizes = list[int](), 0, list[int]()
    while len(seen) < 200:
        page, size = await answered(bench, "poll_events", run_id=name, after_seq=after, limit=1000)
        sizes.append(size)
        seen += [event["seq"] for event in page["events"]]
        after = page["next_after_seq"]
    assert seen == list(range(1, 201))
    assert len(sizes) > 1
    assert max(sizes) < CLIENTS_TAKE
    assert sizes[0] > CLIENTS_TAKE * FILLED


@TEXTS
async def test_a_part_of_an_artifact_fits_and_the_next_continues(bench: Bench, text: str) -> None:
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
        asked = {"run_id": name, "seq": 1, "field_path": "/output", "limit": 262_144}
        part, size = await answered(bench, "get_event_artifact", offset=offset, **asked)
        assert size < CLIENTS_TAKE
        parts.append(part["content"])
        offset, has_more = offset + part["returned_bytes"], part["has_more"]
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
        page, size = await answered(bench, tool, limit=COUNT, cursor=cursor)
        assert size < CLIENTS_TAKE
        shown += [one.get("run_id") or one["agent_name"] for one in page[key]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(shown) == names
