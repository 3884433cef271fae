import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from agentrun.api.events import MAX_EVENT_BYTES
from agentrun.api.v1alpha1 import Phase
from agentrun.store.base import (
    ConflictError,
    FencedError,
    JournalHead,
    RunFilter,
    RunRow,
    RunStore,
    SealedError,
    StoreUnavailableError,
    UnknownRunError,
)
from tests.contract.builders import BEGIN, TS, a_row, a_run, an_event, events
from tests.contract.waiting import LONG, begin_waiting, wait_for_event


async def names(store: RunStore, which: RunFilter) -> list[str]:
    return [row.run.metadata.name for row in (await store.list_runs(which, 100)).rows]


# Rows


async def test_a_recorded_run_is_found_by_name_and_by_uid(store: RunStore) -> None:
    await store.record_run(a_row("uid-1", "one", prompt="Ünïcode 🚀 \x00 prompt"))
    row = await store.get_run("team", "one")
    assert row is not None
    assert row == await store.get_run_by_uid("uid-1")
    assert row.run == a_run("uid-1", "one", prompt="Ünïcode 🚀 \x00 prompt")
    assert (row.session_uid, row.last_seq, row.sealed) == ("s-1", 0, False)
    assert (row.journal_status, row.summary, row.deleted_at) == (None, "", None)
    assert row.updated_at is not None


async def test_a_run_that_was_never_recorded_is_not_found(store: RunStore) -> None:
    await store.record_run(a_row("uid-1", "one"))
    assert await store.get_run("other", "one") is None
    assert await store.get_run("team", "two") is None
    assert await store.get_run_by_uid("uid-2") is None


async def test_recording_again_keeps_the_newest_version(store: RunStore) -> None:
    await store.record_run(a_row(version=9, phase=Phase.QUEUED))
    await store.record_run(a_row(version=10, phase=Phase.RUNNING))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.run.phase is Phase.RUNNING


async def test_a_late_older_version_reverts_nothing(store: RunStore) -> None:
    await store.record_run(a_row(version=10, phase=Phase.RUNNING))
    await store.record_run(a_row(version=9, phase=Phase.QUEUED))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.run.phase is Phase.RUNNING


@pytest.mark.parametrize("later", [Phase.RUNNING, Phase.FAILED, None])
async def test_a_terminal_phase_is_never_replaced(store: RunStore, later: Phase | None) -> None:
    await store.record_run(a_row(version=5, phase=Phase.CANCELLED))
    await store.record_run(a_row(version=6, phase=later))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.run.phase is Phase.CANCELLED
    assert await names(store, RunFilter(phases=[Phase.CANCELLED])) == ["run-uid-1"]


async def test_the_first_of_two_ends_of_the_same_version_is_kept(store: RunStore) -> None:
    first, second = a_row(version=5, phase=Phase.CANCELLED), a_row(version=5, phase=Phase.CANCELLED)
    first.run.status.message, second.run.status.message = "first", "second"
    await store.record_run(first)
    await store.record_run(second)
    row = await store.get_run_by_uid(first.run.metadata.uid)
    assert row is not None
    assert row.run.status.message == "first"


async def test_a_terminal_phase_is_recorded_whatever_its_version(store: RunStore) -> None:
    await store.record_run(a_row(version=90, phase=Phase.RUNNING))
    await store.record_run(a_row(version=7, phase=Phase.COMPLETED))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.run.phase is Phase.COMPLETED


async def test_session_and_deletion_are_never_cleared(store: RunStore) -> None:
    await store.record_run(replace(a_row(), deleted_at=BEGIN))
    await store.record_run(RunRow(a_run(version=2)))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.session_uid, row.deleted_at) == ("s-1", BEGIN)


async def test_recording_does_not_change_the_journal(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 3))
    await store.record_run(replace(a_row(version=2), last_seq=99, sealed=True, summary="no"))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.last_seq, row.sealed, row.summary) == (3, False, "Message 3")


async def test_a_reused_name_refers_to_the_newer_run(store: RunStore) -> None:
    await store.record_run(a_row("old", "same", minute=0, phase=Phase.COMPLETED))
    await store.record_run(a_row("new", "same", minute=1))
    await store.record_run(replace(a_row("old", "same", phase=Phase.COMPLETED), deleted_at=BEGIN))
    row = await store.get_run("team", "same")
    assert row is not None
    assert row.run.metadata.uid == "new"


async def test_of_two_runs_with_the_same_name_and_second_the_later_recorded_is_newer(
    store: RunStore,
) -> None:
    await store.record_run(a_row("z-old", "same"))
    await store.record_run(a_row("a-new", "same"))
    row = await store.get_run("team", "same")
    assert row is not None
    assert row.run.metadata.uid == "a-new"


async def test_a_name_is_reused_if_several_runs_of_its_namespace_have_it(store: RunStore) -> None:
    await store.record_run(replace(a_row("old", "same"), deleted_at=BEGIN))
    await store.record_run(a_row("new", "same"))
    await store.record_run(a_row("one", "once"))
    assert await store.reused_names("team", ["same", "once", "never"]) == {"same"}
    assert await store.reused_names("team", ["once"]) == set()
    assert await store.reused_names("team", []) == set()
    assert await store.reused_names("other", ["same"]) == set()


# Lists


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        pytest.param(RunFilter(), ["d", "c", "b", "a"], id="all-newest-first"),
        pytest.param(RunFilter(namespaces=["team"]), ["c", "b", "a"], id="namespace"),
        pytest.param(RunFilter(namespaces=[]), [], id="no-namespace"),
        pytest.param(RunFilter(phases=[Phase.QUEUED]), ["d", "c", "a"], id="phase-default"),
        pytest.param(RunFilter(phases=[Phase.RUNNING]), ["b"], id="phase"),
        pytest.param(RunFilter(phases=[]), [], id="no-phase"),
        pytest.param(RunFilter(backend="claude_code"), ["c"], id="backend"),
        pytest.param(RunFilter(session_name="talk"), ["c"], id="session"),
        pytest.param(RunFilter(session_name="a"), ["a"], id="session-of-its-own"),
        pytest.param(RunFilter(namespaces=["team"], session_name="nowhere"), [], id="nothing"),
    ],
)
async def test_runs_are_filtered(store: RunStore, which: RunFilter, expected: list[str]) -> None:
    await store.record_run(a_row("1", "a", minute=1))
    await store.record_run(a_row("2", "b", minute=2, phase=Phase.RUNNING, workspace={"cwd": "src"}))
    await store.record_run(
        a_row("3", "c", minute=3, backend="claude_code", session={"name": "talk"})
    )
    await store.record_run(a_row("4", "d", minute=4, namespace="other"))
    assert await names(store, which) == expected


async def test_pages_contain_every_run_once_while_runs_are_added(store: RunStore) -> None:
    for number in range(7):
        await store.record_run(a_row(f"u{number}", f"run-{number}", minute=number // 3))
    seen, cursor = list[str](), None
    for page_number in range(10):
        page = await store.list_runs(RunFilter(), 2, cursor)
        seen += [row.run.metadata.name for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            break
        await store.record_run(a_row(f"new{page_number}", f"run-new{page_number}", minute=60))
    assert seen == [f"run-{number}" for number in reversed(range(7))]


async def test_a_full_last_page_has_no_cursor(store: RunStore) -> None:
    for number in range(4):
        await store.record_run(a_row(f"u{number}"))
    first = await store.list_runs(RunFilter(), 2)
    assert first.cursor is not None
    second = await store.list_runs(RunFilter(), 2, first.cursor)
    assert (len(second.rows), second.cursor) == (2, None)


@pytest.mark.parametrize("cursor", ["", "%%%", "bm90anNvbg==", "WzEsMl0=", "WyIxIiwiYSIsImIiXQ=="])
async def test_an_invalid_cursor_is_an_error(store: RunStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="not a valid cursor"):
        await store.list_runs(RunFilter(), 2, cursor)


# Children


def asked_by(uid: str, **more: Any) -> dict[str, Any]:
    return {"parent": {"name": "above", "uid": uid, "depth": 1}, **more}


async def test_ended_and_deleted_children_are_counted(store: RunStore) -> None:
    await store.record_run(a_row("lead"))
    assert await store.count_children("team", "lead") == 0
    await store.record_run(a_row("a", **asked_by("lead")))
    await store.record_run(a_row("b", **asked_by("lead"), phase=Phase.FAILED))
    gone = a_row("c", **asked_by("lead"), phase=Phase.COMPLETED)
    await store.record_run(replace(gone, deleted_at=BEGIN))
    await store.seal("c", "seal", TS, {"status": "completed"})
    await store.record_run(a_row("d", **asked_by("a")))
    await store.record_run(a_row("a", **asked_by("lead"), version=2, phase=Phase.RUNNING))
    assert await store.count_children("team", "lead") == 3
    assert await store.count_children("team", "a") == 1
    await store.forget("c")
    assert await store.count_children("team", "lead") == 2


async def test_a_run_without_a_parent_is_not_counted_as_a_child(store: RunStore) -> None:
    await store.record_run(a_row("a"))
    assert await store.count_children("team", "") == 0


async def test_runs_of_another_namespace_are_not_counted_as_children(store: RunStore) -> None:
    await store.record_run(a_row("a", namespace="other", **asked_by("lead")))
    assert await store.count_children("team", "lead") == 0


async def test_a_parent_uid_may_be_any_string_that_the_api_accepts(store: RunStore) -> None:
    await store.record_run(a_row("long", **asked_by("x" * 256)))
    await store.record_run(a_row("nul", **asked_by("a\0b")))
    assert await store.count_children("team", "x" * 256) == 1
    assert len(await store.open_runs()) == 2


async def test_a_session_has_the_parents_of_all_its_runs(store: RunStore) -> None:
    talk: dict[str, Any] = {"session": {"name": "talk"}}
    assert await store.parents_in_session("team", "talk", 10) == set()
    await store.record_run(a_row("0", minute=0, **talk))
    for number in range(1, 5):
        parent = asked_by("odd" if number % 2 else "even", **talk)
        await store.record_run(a_row(f"{number}", minute=number, **parent))
    await store.record_run(a_row("5", **asked_by("other")))
    await store.record_run(a_row("6", namespace="other", **asked_by("other", **talk)))
    assert await store.parents_in_session("team", "talk", 10) == {"", "even", "odd"}
    assert len(await store.parents_in_session("team", "talk", 2)) == 2
    assert await store.parents_in_session("team", "run-5", 10) == {"other"}


async def test_open_runs_are_those_without_a_seal_oldest_first(store: RunStore) -> None:
    for number in range(3):
        await store.record_run(a_row(f"u{number}", minute=9 - number))
    await store.seal("u1", "seal", TS, {"status": "completed"})
    assert [row.run.metadata.uid for row in await store.open_runs()] == ["u2", "u0"]


# Journals


async def test_events_are_read_back_unchanged(store: RunStore) -> None:
    await store.record_run(a_row(backend="claude_code"))
    data: dict[str, Any] = {"text": "Ünï 🚀 \x00", "nested": {"list": [1, 2.5, None, True]}}
    head = await store.append("uid-1", 1, [an_event(1, **data)])
    assert head == JournalHead(1, sealed=False)
    (event,) = await store.read("uid-1", 0, 10)
    assert event.model_dump(mode="json") == {
        "seq": 1,
        "ts": TS,
        "run_id": "run-uid-1",
        "session_id": "s-1",
        "backend": "claude_code",
        "type": "agent_message",
        "data": data,
    }


async def test_the_largest_event_is_stored_completely(store: RunStore) -> None:
    await store.record_run(a_row())
    text = "ß" * (MAX_EVENT_BYTES // 2)
    await store.append("uid-1", 1, [an_event(1, text=text)])
    assert (await store.read("uid-1", 0, 1))[0].data == {"text": text}


async def test_reading_pages_in_order(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 7))
    assert [event.seq for event in await store.read("uid-1", 2, 3)] == [3, 4, 5]
    assert [event.seq for event in await store.read("uid-1", 5, 100)] == [6, 7]
    assert await store.read("uid-1", 7, 100) == []
    assert await store.read("uid-1", 99, 100) == []


async def test_events_do_not_change_with_their_run(store: RunStore) -> None:
    await store.record_run(a_row(session_uid=""))
    await store.append("uid-1", 1, events(1, 1))
    before = await store.read("uid-1", 0, 10)
    await store.record_run(a_row(version=2, session_uid="late"))
    assert await store.read("uid-1", 0, 10) == before


async def test_appending_the_same_events_again_is_harmless(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 3))
    assert await store.append("uid-1", 1, events(1, 3)) == JournalHead(3)
    assert await store.append("uid-1", 1, events(2, 5)) == JournalHead(5)
    assert [event.seq for event in await store.read("uid-1", 0, 10)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param([an_event(3, "other")], id="other-event-at-a-taken-seq"),
        pytest.param([an_event(4), an_event(2, "other")], id="after-a-new-one"),
        pytest.param([an_event(5)], id="gap"),
        pytest.param([an_event(4), an_event(6)], id="gap-inside"),
        pytest.param([an_event(4), an_event(4, "twin")], id="twins"),
    ],
)
async def test_conflicts_store_nothing_and_return_the_head(
    store: RunStore, batch: list[object]
) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 3))
    with pytest.raises(ConflictError) as conflict:
        await store.append("uid-1", 1, batch)  # type: ignore[arg-type]
    assert conflict.value.last_seq == 3
    assert await store.head("uid-1") == JournalHead(3)
    assert await store.append("uid-1", 1, [an_event(4)]) == JournalHead(4)


async def test_an_older_attempt_is_fenced_after_a_newer_one_has_appended(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 2))
    await store.append("uid-1", 2, events(2, 3))
    for batch in (events(1, 2), events(4, 4), []):
        with pytest.raises(FencedError):
            await store.append("uid-1", 1, batch)
    assert await store.head("uid-1") == JournalHead(3)


async def test_a_newer_attempt_fences_even_if_it_only_repeats_events(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 2))
    await store.append("uid-1", 2, events(2, 2))
    with pytest.raises(FencedError):
        await store.append("uid-1", 1, events(3, 3))


async def test_a_run_that_was_never_recorded_has_an_empty_journal(store: RunStore) -> None:
    assert await store.head("nobody") == JournalHead(0)
    assert await store.read("nobody", 0, 10) == []
    with pytest.raises(UnknownRunError):
        await store.append("nobody", 1, events(1, 1))
    with pytest.raises(UnknownRunError):
        await store.seal("nobody", "seal", TS, {"status": "failed"})


async def test_the_row_reflects_the_journal(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, [an_event(1, type="run_started", thread_id="t")])
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.journal_status, row.summary) == ("running", "Run started")
    failed = an_event(2, type="run_failed", message="No\n more   tokens")
    await store.append("uid-1", 1, [failed])
    sealed = await store.seal("uid-1", "seal", TS, {"status": "failed"})
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.journal_status, row.summary) == ("failed", "Run failed: No more tokens")
    assert sealed == JournalHead(3, sealed=True)


async def test_the_journal_status_is_that_of_the_newest_attempt(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, [an_event(1, type="input_required", text="May I?")])
    await store.append("uid-1", 2, [an_event(2, type="reasoning", text="I go on.")])
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.journal_status, row.journal_attempt) == (None, 2)
    await store.append("uid-1", 2, [an_event(3, type="run_started", thread_id="t")])
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.journal_status, row.journal_attempt) == ("running", 2)


async def test_updated_at_follows_rows_and_journals_but_not_repeats(store: RunStore) -> None:
    async def updated() -> object:
        row = await store.get_run_by_uid("uid-1")
        assert row is not None
        return row.updated_at

    await store.record_run(a_row())
    recorded = await updated()
    await store.record_run(a_row())
    assert await updated() == recorded
    await store.append("uid-1", 1, events(1, 1))
    appended = await updated()
    assert appended != recorded
    await store.append("uid-1", 1, events(1, 1))
    assert await updated() == appended


# Seals


async def test_a_seal_is_the_last_event(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.append("uid-1", 1, events(1, 2))
    data = {"status": "cancelled", "reason": "CancelRequested"}
    assert await store.seal("uid-1", "seal", TS, data) == JournalHead(3, sealed=True)
    for batch in (events(1, 1), [an_event(4)]):
        with pytest.raises(SealedError):
            await store.append("uid-1", 1, batch)
    last = (await store.read("uid-1", 2, 10))[0]
    assert (last.seq, last.type, last.data) == (3, "status_changed", data)
    assert await store.head("uid-1") == JournalHead(3, sealed=True)


async def test_a_sealed_journal_does_not_change(store: RunStore) -> None:
    await store.record_run(a_row())
    first = await store.seal("uid-1", "seal", TS, {"status": "completed"})
    assert await store.seal("uid-1", "other", TS, {"status": "failed"}) == first
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.journal_status == "completed"
    assert len(await store.read("uid-1", 0, 10)) == 1


async def test_a_seal_during_appends_ends_the_journal_without_gap_or_loss(store: RunStore) -> None:
    await store.record_run(a_row())
    acknowledged = 0

    async def append_until_sealed() -> None:
        nonlocal acknowledged
        while True:
            head = await store.append("uid-1", 1, events(acknowledged + 1, acknowledged + 3))
            acknowledged = head.last_seq
            await asyncio.sleep(0)  # Who seals has a turn, also of a store in memory.

    async def seal() -> JournalHead:
        while acknowledged < 9:
            await wait_for_event(store, "uid-1", acknowledged)
        return await store.seal("uid-1", "seal", TS, {"status": "cancelled"})

    appending, head = asyncio.create_task(append_until_sealed()), await seal()
    with pytest.raises(SealedError):
        await appending
    journal = await store.read("uid-1", 0, 10_000)
    assert [event.seq for event in journal] == list(range(1, head.last_seq + 1))
    assert journal[-1].data == {"status": "cancelled"}
    assert acknowledged == head.last_seq - 1


async def test_concurrent_appends_of_many_runs_do_not_mix(store: RunStore) -> None:
    uids = [f"u{number}" for number in range(8)]
    for uid in uids:
        await store.record_run(a_row(uid))

    async def talk(uid: str) -> None:
        for first in range(1, 20, 2):
            await store.append(uid, 1, [an_event(first, text=uid), an_event(first + 1, text=uid)])

    await asyncio.gather(*(talk(uid) for uid in uids))
    for uid in uids:
        journal = await store.read(uid, 0, 100)
        assert [event.seq for event in journal] == list(range(1, 21))
        assert {event.data["text"] for event in journal} == {uid}


async def test_two_writers_of_one_sequence_number_store_one_event(store: RunStore) -> None:
    await store.record_run(a_row())
    results = await asyncio.gather(
        *(store.append("uid-1", 1, [an_event(1, f"by-{writer}")]) for writer in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, JournalHead) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 4
    assert len(await store.read("uid-1", 0, 10)) == 1


async def test_an_append_whose_caller_is_cancelled_is_stored_and_wakes_readers(
    store: RunStore,
) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1", 0))
    appending = asyncio.create_task(store.append("uid-1", 1, events(1, 1)))
    await asyncio.sleep(0)  # So that it has begun.
    appending.cancel()
    await asyncio.wait_for(waiting, LONG)
    assert await store.head("uid-1") == JournalHead(1)


# Waiting


async def test_waiting_ends_with_an_event(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1", 0))
    await store.append("uid-1", 1, events(1, 1))
    await waiting


async def test_waiting_for_a_later_event_continues(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1", 2))
    await store.append("uid-1", 1, events(1, 2))
    await store.head("uid-1")
    assert not waiting.done()
    await store.append("uid-1", 1, events(3, 3))
    await waiting


async def test_waiting_ends_with_the_seal(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1", 1000))
    await store.seal("uid-1", "seal", TS, {"status": "failed"})
    await waiting


async def test_waiting_ends_when_the_row_changes(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1", 1000))
    await store.record_run(a_row())
    await store.head("uid-1")
    assert not waiting.done(), "nothing had changed"
    await store.record_run(a_row(version=2, phase=Phase.RUNNING))
    await waiting


async def test_a_change_between_the_subscription_and_the_wait_is_not_missed(
    store: RunStore,
) -> None:
    await store.record_run(a_row())
    async with store.changes("uid-1", 1) as changes:
        await store.append("uid-1", 1, events(1, 2))
        await changes.next(LONG)
        await store.record_run(a_row(version=2, phase=Phase.RUNNING))
        await changes.next(LONG)
        await store.seal("uid-1", "seal", TS, {"status": "failed"})
        await changes.next(LONG)


async def test_each_change_ends_one_wait(store: RunStore) -> None:
    await store.record_run(a_row())
    async with store.changes("uid-1", 0) as changes:
        await store.append("uid-1", 1, events(1, 1))
        await changes.next(LONG)
        waiting = asyncio.create_task(changes.next(LONG))
        await store.head("uid-1")
        assert not waiting.done()
        await store.append("uid-1", 1, events(2, 2))
        await waiting


async def test_a_wait_for_the_row_alone_is_not_ended_by_events(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = await begin_waiting(store.changes("uid-1"))
    await store.append("uid-1", 1, events(1, 1))
    await store.head("uid-1")
    assert not waiting.done()
    await store.record_run(a_row(version=2, phase=Phase.RUNNING))
    await waiting


async def test_waiting_ends_at_its_timeout(store: RunStore) -> None:
    await store.record_run(a_row())
    async with store.changes("uid-1", 0) as changes:
        await changes.next(0.01)
        await changes.next(0)


async def test_closing_wakes_all_waiters(store: RunStore) -> None:
    await store.record_run(a_row())
    waiting = [await begin_waiting(store.changes("uid-1", 0)) for _ in range(3)]
    async with store.changes("uid-1") as before:
        await store.close()
        await asyncio.gather(*waiting)
        async with store.changes("uid-1") as after:
            for changes in (before, before, after, after):
                await changes.next(LONG)


async def test_a_closed_store_reports_it(store: RunStore) -> None:
    await store.record_run(a_row())
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.head("uid-1")
    with pytest.raises(StoreUnavailableError):
        await store.append("uid-1", 1, events(1, 1))


async def test_timestamps_keep_their_instant(store: RunStore) -> None:
    moment = BEGIN + timedelta(microseconds=123_456)
    await store.record_run(replace(a_row(), deleted_at=moment))
    row = await store.get_run_by_uid("uid-1")
    assert row is not None
    assert row.deleted_at == moment
