"""Reading the whole of what an event only previews."""

import base64
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.gateway import blob_key
from tests.unit.mcp_server.conftest import Bench

NAME = "artifacts/000001-command_finished-1/output.txt"


async def given(bench: Bench, body: bytes, mime: str = "text/plain") -> str:
    """Spawn a run whose first event has its output in a blob."""
    run_id: str = (await bench.spawn())["run_id"]
    uid = (await bench.row(run_id)).run.metadata.uid
    await bench.blobs.put(blob_key(uid, NAME), body, mime)
    ref = {"field_path": "/output", "relpath": NAME, "mime": mime, "total_bytes": len(body)}
    data = {"output": "...", "artifact_refs": {"/output": ref}}
    await bench.say(run_id, (EventType.COMMAND_FINISHED, data), (EventType.AGENT_MESSAGE, {}))
    return run_id


async def read(bench: Bench, run_id: str, **more: Any) -> dict[str, Any]:
    return await bench.call(
        "get_event_artifact", run_id=run_id, seq=1, field_path="/output", **more
    )


async def test_a_complete_field_is_read(bench: Bench) -> None:
    run_id = await given(bench, b"all of it")
    assert await read(bench, run_id) == {
        "run_id": run_id,
        "seq": 1,
        "field_path": "/output",
        "mime": "text/plain",
        "encoding": "utf-8",
        "relpath": NAME,
        "total_bytes": 9,
        "offset": 0,
        "returned_bytes": 9,
        "has_more": False,
        "content": "all of it",
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 100])
async def test_slices_together_are_the_complete_text_and_split_no_character(
    bench: Bench, limit: int
) -> None:
    whole = "aé€😀 end €"
    run_id = await given(bench, whole.encode())
    pieces, offset, more = [], 0, True
    while more:
        part = await read(bench, run_id, offset=offset, limit=limit)
        assert part["offset"] == offset
        assert part["returned_bytes"] == len(part["content"].encode()) > 0
        pieces.append(part["content"])
        offset, more = offset + part["returned_bytes"], part["has_more"]
    assert "".join(pieces) == whole
    assert "\ufffd" not in whole


async def test_an_offset_within_a_character_moves_to_the_next(bench: Bench) -> None:
    run_id = await given(bench, "€uro".encode())
    part = await read(bench, run_id, offset=1)
    assert (part["offset"], part["content"], part["has_more"]) == (3, "uro", False)


@pytest.mark.parametrize("limit", [1, 3, 256])
async def test_binary_content_is_returned_in_base64_and_complete(bench: Bench, limit: int) -> None:
    whole = bytes(range(256))
    run_id = await given(bench, whole, "application/octet-stream")
    raw, offset, more = b"", 0, True
    while more:
        part = await read(bench, run_id, offset=offset, limit=limit)
        is_text = part["encoding"] == "utf-8"
        raw += part["content"].encode() if is_text else base64.b64decode(part["content"])
        offset, more = part["offset"] + part["returned_bytes"], part["has_more"]
    assert raw == whole


async def test_an_offset_beyond_the_end_returns_nothing(bench: Bench) -> None:
    run_id = await given(bench, b"short")
    part = await read(bench, run_id, offset=99)
    assert (part["content"], part["returned_bytes"], part["has_more"]) == ("", 0, False)


async def test_a_missing_artifact_is_named_with_the_existing_ones(bench: Bench) -> None:
    run_id = await given(bench, b"x")
    wrong = {"run_id": run_id, "field_path": "/stdout"}
    assert await bench.refused("get_event_artifact", seq=1, **wrong) == (
        "No artifact for field_path /stdout. Available field paths: /output"
    )
    for seq in (2, 3):
        said = await bench.refused("get_event_artifact", seq=seq, **wrong)
        assert said == f"No artifacts found for seq {seq}"


async def test_missing_bytes_are_reported_as_an_error(bench: Bench) -> None:
    run_id = await given(bench, b"x")
    uid = (await bench.row(run_id)).run.metadata.uid
    await bench.blobs.delete_prefix(f"runs/{uid}/")
    said = await bench.refused("get_event_artifact", run_id=run_id, seq=1, field_path="/output")
    assert said.startswith("The bytes of /output of seq 1 were not stored")
