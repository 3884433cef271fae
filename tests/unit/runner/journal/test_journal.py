"""The journal keeps what it was given until the gateway has it, whatever the gateway does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.events import EventType
from agentrun.api.gateway import Head
from agentrun.runner.gateway import (
    Gateway,
    GatewayConflictError,
    GatewayRefusedError,
    GatewayUnavailableError,
    RunFinishedError,
)
from agentrun.runner.journal import journal as module
from agentrun.runner.journal.journal import Journal
from agentrun.runner.journal.large_text import LargeText
from agentrun.runner.journal.redact import Redactor
from agentrun.runner.journal.spool import Spool
from tests.waiting import LATE_SECONDS


class FakeGateway(Gateway):
    """Takes events and blobs, unless an answer to the next request is set."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.order: list[str] = []
        self.answers: list[Exception] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda event: False

    async def append(self, body: bytes) -> Head:
        await asyncio.sleep(0)  # As a request gives others a turn.
        if self.answers:
            raise self.answers.pop(0)
        events = json.loads(body)["events"]
        if any(self.refuses(event) for event in events):
            raise GatewayRefusedError("400 invalid: not this one")
        self.taken += events
        self.order += [event["type"] for event in events]
        return Head(last_seq=events[-1]["seq"])

    async def put_blob(self, name: str, path: Path, size: int, media_type: str) -> None:
        assert len(path.read_bytes()) == size  # noqa: ASYNC240 - a small file of the test
        self.order.append(name)


@asynccontextmanager
async def shipping(folder: Path) -> AsyncIterator[tuple[Journal, FakeGateway]]:
    gateway = FakeGateway()
    journal = Journal(Spool(folder), gateway, Redactor(), 1, lambda kind, data: None)
    ship = asyncio.create_task(journal.ship())
    try:
        yield journal, gateway
    finally:
        ship.cancel()
        await asyncio.gather(ship, return_exceptions=True)


def say(journal: Journal, *texts: str) -> None:
    for text in texts:
        journal.add(EventType.AGENT_MESSAGE, {"text": text})


async def test_numbering_continues_from_the_head(tmp_path: Path) -> None:
    async with shipping(tmp_path) as (journal, gateway):
        journal.start_after(41)
        say(journal, "one", "two")
        await journal.drained()
    assert [event["seq"] for event in gateway.taken] == [42, 43]
    assert len({event["event_id"] for event in gateway.taken}) == 2


async def test_blob_is_sent_before_the_event_that_refers_to_it(tmp_path: Path) -> None:
    async with shipping(tmp_path) as (journal, gateway):
        say(journal, "x" * 5000)
        await journal.drained()
    assert gateway.order == ["artifacts/000001-agent_message-1/text.txt", "agent_message"]


async def test_after_a_conflict_numbering_continues_after_the_reported_head(tmp_path: Path) -> None:
    async with shipping(tmp_path) as (journal, gateway):
        gateway.answers = [GatewayConflictError("taken", 7)]
        say(journal, "one", "two")
        await journal.drained()
    assert [event["seq"] for event in gateway.taken] == [8, 9]


async def test_events_lost_by_a_restored_store_are_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSES", (0.001,))
    async with shipping(tmp_path) as (journal, gateway):
        journal.start_after(80)
        gateway.answers = [
            GatewayConflictError("gap", 50),
            GatewayUnavailableError("the answer was lost"),
        ]
        say(journal, "one", "two")
        await journal.drained()
    told = [(event["seq"], event["data"]["text"]) for event in gateway.taken]
    assert told[0][0] == 51
    assert "Events 51 to 80 are lost" in told[0][1]
    assert told[1:] == [(52, "one"), (53, "two")]


async def test_refused_event_is_replaced_by_a_note_and_blocks_nothing(tmp_path: Path) -> None:
    async with shipping(tmp_path) as (journal, gateway):
        gateway.refuses = lambda event: event["data"]["text"] == "bad"
        say(journal, "one", "bad", "two")
        await journal.drained()
    texts = [event["data"]["text"] for event in gateway.taken]
    assert (texts[0], texts[2]) == ("one", "two")
    assert "An event was lost" in texts[1]
    assert [event["seq"] for event in gateway.taken] == [1, 2, 3]


async def test_note_of_a_lost_event_is_stored_once_despite_a_lost_response(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSES", (0.001,))
    async with shipping(tmp_path) as (journal, gateway):
        take = gateway.append
        answers: list[Exception] = [GatewayUnavailableError("the answer was lost")]

        async def append(body: bytes) -> Head:
            """Keep one event at a seq, and lose the answer to the first that is kept."""
            [event] = json.loads(body)["events"]
            there = next((one for one in gateway.taken if one["seq"] == event["seq"]), None)
            if there and event["data"]["text"] != "bad":
                if there["event_id"] != event["event_id"]:
                    raise GatewayConflictError("another event", len(gateway.taken))
                return Head(last_seq=len(gateway.taken))
            head = await take(body)
            if answers:
                raise answers.pop()
            return head

        monkeypatch.setattr(gateway, "append", append)
        gateway.refuses = lambda event: event["data"]["text"] == "bad"
        say(journal, "bad")
        await asyncio.wait_for(journal.drained(), LATE_SECONDS)
    [note] = gateway.taken
    assert "An event was lost" in note["data"]["text"]


async def test_unavailable_gateway_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSES", (0.001,))
    async with shipping(tmp_path) as (journal, gateway):
        gateway.answers = [GatewayUnavailableError("away"), GatewayUnavailableError("away")]
        say(journal, "one")
        await journal.drained()
        assert journal.last_error == ""
    assert len(gateway.taken) == 1


async def test_ended_run_stops_the_upload_of_events(tmp_path: Path) -> None:
    gateway = FakeGateway()
    journal = Journal(Spool(tmp_path), gateway, Redactor(), 1, lambda kind, data: None)
    gateway.answers = [RunFinishedError("sealed")]
    say(journal, "one")
    with pytest.raises(RunFinishedError):
        await journal.ship()


async def test_agent_waits_while_the_spool_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPOOL_BOUND", 500)
    gateway = FakeGateway()
    journal = Journal(Spool(tmp_path), gateway, Redactor(), 1, lambda kind, data: None)
    say(journal, "x" * 600)
    room = asyncio.create_task(journal.room())
    await asyncio.sleep(0)  # So that it waits.
    assert not room.done()
    ship = asyncio.create_task(journal.ship())
    await room
    ship.cancel()


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_text_in_a_file_becomes_a_blob_that_survives_the_file(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    async with shipping(tmp_path / "spool") as (journal, gateway):
        path = tmp_path / "text"
        path.write_text("x" * 100_000)
        text, other = (
            LargeText("x" * 5000, path, 100_000, 100_000, "text/plain") for _ in range(2)
        )
        gateway.answers = [GatewayUnavailableError("away")]
        journal.add(EventType.COMMAND_FINISHED, {"output": text, "stdout": other, "again": text})
        path.unlink()
        await journal.drained()
    names = [f"artifacts/000001-command_finished-1/{name}.txt" for name in ("stdout", "output")]
    assert gateway.order == [*names, "command_finished"]
    assert left_in(tmp_path / "spool") == []


def test_listener_sees_the_preview_of_a_text_in_a_file(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    journal = Journal(
        Spool(tmp_path), FakeGateway(), Redactor(), 1, lambda kind, data: seen.append(data)
    )
    (tmp_path / "text").write_text("x" * 100_000)
    large = LargeText("x" * 5000, tmp_path / "text", 100_000, 100_000, "text/plain")
    journal.add(EventType.TODO_UPDATED, {"items": [{"text": large}]})
    assert seen == [{"items": [{"text": "x" * 5000}]}]


@pytest.mark.parametrize(
    ("full", "notices"), [("spool._write", ["2 events are"]), ("blob", ["1 event is"] * 2)]
)
async def test_events_that_do_not_fit_on_the_disk_are_reported_by_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str, notices: list[str]
) -> None:
    def no_space(*_: Any) -> int:
        raise OSError(ENOSPC, "No space left on device")

    async with shipping(tmp_path) as (journal, gateway):
        with monkeypatch.context() as patch:
            if full == "blob":
                patch.setattr(Path, "write_bytes", no_space)
            else:
                patch.setattr(f"agentrun.runner.journal.{full}", no_space)
            for _ in range(2):
                assert not journal.add(EventType.COMMAND_FINISHED, {"output": "x" * 50_000})
        assert journal.losses == "2 events are missing in the journal: the runner's disk was full."
        assert journal.add(EventType.REASONING, {"text": "on"})
        assert journal.add(EventType.REASONING, {"text": "and on"})
        await journal.drained()
    texts = [event["data"]["text"] for event in gateway.taken]
    told = [f"{notice} missing in the journal: the runner's disk was full." for notice in notices]
    assert texts == [*told, "on", "and on"]
    assert left_in(tmp_path) == []


async def test_other_errors_of_the_disk_are_not_taken_for_a_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(EIO, "Input/output error")

    journal = Journal(Spool(tmp_path), FakeGateway(), Redactor(), 1, lambda kind, data: None)
    monkeypatch.setattr("agentrun.runner.journal.spool._write", broken)
    with pytest.raises(OSError, match="Input/output error"):
        say(journal, "one")
