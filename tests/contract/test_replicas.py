"""Two MCP servers on one PostgreSQL database. SQLite has one: see ``sqlite``."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import pytest

from agentrun.api.v1alpha1 import Phase
from agentrun.store.base import (
    ConflictError,
    FencedError,
    JournalHead,
    RunFilter,
    RunStore,
    SealedError,
)
from agentrun.store.sql import open_store
from tests.contract.builders import BEGIN, TS, a_message, a_row, an_event, events
from tests.contract.waiting import LONG, begin_waiting, wait_for_event


@dataclass
class Replicas:
    here: RunStore
    there: RunStore


@pytest.fixture
async def replicas(postgres_url: str) -> AsyncIterator[Replicas]:
    opened = Replicas(await open_store(postgres_url), await open_store(postgres_url))
    async with opened.there.changes("uid-1") as changes:
        await opened.here.record_run(a_row())
        await changes.next(LONG)
    yield opened
    await opened.here.close()
    await opened.there.close()


async def test_one_replica_reads_what_the_other_writes(replicas: Replicas) -> None:
    await replicas.here.append("uid-1", 1, events(1, 3))
    assert await replicas.there.head("uid-1") == JournalHead(3)
    assert await replicas.there.append("uid-1", 1, events(2, 4)) == JournalHead(4)
    assert [event.seq for event in await replicas.here.read("uid-1", 0, 10)] == [1, 2, 3, 4]


# Waking


async def test_an_append_wakes_waiters_of_another_replica(replicas: Replicas) -> None:
    waiting = await begin_waiting(replicas.there.changes("uid-1", 0))
    await replicas.here.append("uid-1", 1, events(1, 1))
    await waiting
    assert len(await replicas.there.read("uid-1", 0, 10)) == 1, "it is committed when they hear"


async def test_waiters_of_another_replica_for_a_later_event_keep_waiting(
    replicas: Replicas,
) -> None:
    patient = await begin_waiting(replicas.there.changes("uid-1", 2))
    eager = await begin_waiting(replicas.there.changes("uid-1", 1))
    await replicas.here.append("uid-1", 1, events(1, 2))
    await eager
    assert not patient.done()
    await replicas.here.append("uid-1", 1, events(3, 3))
    await patient


async def test_a_seal_wakes_waiters_of_another_replica(replicas: Replicas) -> None:
    waiting = await begin_waiting(replicas.there.changes("uid-1", 1000))
    await replicas.here.seal("uid-1", "seal", TS, {"status": "failed"})
    await waiting


async def test_a_new_version_of_a_run_wakes_waiters_of_another_replica(replicas: Replicas) -> None:
    waiting = await begin_waiting(replicas.there.changes("uid-1", 1000))
    await replicas.here.record_run(a_row(version=2, phase=Phase.RUNNING))
    await waiting


async def test_refused_or_repeated_writes_wake_no_waiters_of_another_replica(
    replicas: Replicas,
) -> None:
    await replicas.here.append("uid-1", 1, events(1, 1))
    waiting = await begin_waiting(replicas.there.changes("uid-1", 1000))
    with pytest.raises(ConflictError):
        await replicas.here.append("uid-1", 1, events(7, 7))
    await replicas.here.append("uid-1", 1, events(1, 1))
    await replicas.here.record_run(a_row())
    other = await begin_waiting(replicas.there.changes("uid-2", 1000))
    await replicas.here.record_run(a_row("uid-2"))
    await other
    assert not waiting.done(), "notices come in the order of the commits"
    waiting.cancel()


async def test_many_waiters_of_all_replicas_see_every_event(replicas: Replicas) -> None:
    async def follow(store: RunStore) -> list[int]:
        seen = list[int]()
        async with store.changes("uid-1", 0) as changes:
            while True:
                seen += [event.seq for event in await store.read("uid-1", len(seen), 100)]
                if len(seen) >= 20:
                    return seen
                await changes.next(LONG)

    readers = [
        asyncio.create_task(follow(store))
        for store in (replicas.here, replicas.there)
        for _ in range(5)
    ]
    for seq in range(1, 21):
        writer = (replicas.here, replicas.there)[seq % 2]
        await writer.append("uid-1", 1, events(seq, seq))
    assert await asyncio.gather(*readers) == [list(range(1, 21))] * 10


async def test_a_message_wakes_its_waiters_of_another_replica(replicas: Replicas) -> None:
    there = replicas.there.messages
    waiting = await begin_waiting(there.changes("s-1", 0))
    await replicas.here.messages.send(a_message())
    await waiting
    assert len(await there.fetch("s-1", 0, 10)) == 1, "it is committed when they hear"


# Races


async def test_concurrent_sends_on_two_replicas_leave_neither_gaps_nor_duplicates(
    replicas: Replicas,
) -> None:
    both = (replicas.here.messages, replicas.there.messages)
    sent = await asyncio.gather(
        *(both[n % 2].send(a_message(f"m-{n}", to=f"s-{n % 3}")) for n in range(60))
    )
    for uid in ("s-0", "s-1", "s-2"):
        seqs = sorted(one.seq for one in sent if one.sent.to_session_uid == uid)
        assert seqs == list(range(1, 21))


async def test_two_writers_of_one_sequence_number_on_two_replicas_store_one_event(
    replicas: Replicas,
) -> None:
    for seq in range(1, 11):
        results = await asyncio.gather(
            *(
                store.append("uid-1", 1, [an_event(seq, f"{place}-{writer}-{seq}")])
                for place, store in (("here", replicas.here), ("there", replicas.there))
                for writer in range(3)
            ),
            return_exceptions=True,
        )
        assert sum(isinstance(result, JournalHead) for result in results) == 1
        conflicts = [result for result in results if isinstance(result, ConflictError)]
        assert [conflict.last_seq for conflict in conflicts] == [seq] * 5
    assert [event.seq for event in await replicas.here.read("uid-1", 0, 100)] == list(range(1, 11))


async def test_the_same_events_on_two_replicas_are_stored_once(replicas: Replicas) -> None:
    for first in range(1, 30, 3):
        batch = events(first, first + 2)
        heads = await asyncio.gather(
            *(store.append("uid-1", 1, batch) for store in (replicas.here, replicas.there) * 3)
        )
        assert heads == [JournalHead(first + 2)] * 6
    assert len(await replicas.there.read("uid-1", 0, 100)) == 30


async def test_a_newer_attempt_on_one_replica_fences_the_older_on_the_other(
    replicas: Replicas,
) -> None:
    await replicas.here.append("uid-1", 1, events(1, 2))
    await replicas.there.append("uid-1", 2, events(3, 3))
    with pytest.raises(FencedError):
        await replicas.here.append("uid-1", 1, events(4, 4))


async def test_racing_attempts_leave_no_event_of_the_older_after_the_newer(
    replicas: Replicas,
) -> None:
    async def talk(store: RunStore, attempt: int, enough: Callable[[], bool]) -> None:
        head = 0
        while not enough():
            try:
                batch = [an_event(head + 1, f"{attempt}-{head + 1}", attempt=attempt)]
                head = (await store.append("uid-1", attempt, batch)).last_seq
                told.append(attempt)
            except ConflictError as conflict:
                head = conflict.last_seq

    told: list[int] = []
    # The older one goes on until it is refused.
    old = asyncio.create_task(talk(replicas.here, 1, lambda: False))
    await wait_for_event(replicas.there, "uid-1", 5)
    await talk(replicas.there, 2, lambda: told.count(2) >= 20)
    with pytest.raises(FencedError):
        await old
    attempts = [event.data["attempt"] for event in await replicas.here.read("uid-1", 0, 10_000)]
    assert attempts == sorted(attempts)
    assert set(attempts) == {1, 2}


async def test_two_seals_at_once_leave_one(replicas: Replicas) -> None:
    for number in range(10):
        uid = f"u{number}"
        await replicas.here.record_run(a_row(uid))
        heads = await asyncio.gather(
            replicas.here.seal(uid, f"seal-{uid}", TS, {"status": "completed"}),
            replicas.there.seal(uid, f"seal-{uid}", TS, {"status": "completed"}),
        )
        assert set(heads) == {JournalHead(1, sealed=True)}
        assert len(await replicas.there.read(uid, 0, 10)) == 1


async def test_a_seal_on_one_replica_ends_the_appends_on_the_other(replicas: Replicas) -> None:
    acknowledged = 0

    async def append_until_sealed() -> None:
        nonlocal acknowledged
        while True:
            head = await replicas.here.append(
                "uid-1", 1, events(acknowledged + 1, acknowledged + 2)
            )
            acknowledged = head.last_seq

    appending = asyncio.create_task(append_until_sealed())
    await wait_for_event(replicas.there, "uid-1", 9)
    head = await replicas.there.seal("uid-1", "seal", TS, {"status": "cancelled"})
    with pytest.raises(SealedError):
        await appending
    journal = await replicas.there.read("uid-1", 0, 10_000)
    assert [event.seq for event in journal] == list(range(1, head.last_seq + 1))
    assert acknowledged == head.last_seq - 1


async def test_a_run_that_both_replicas_see_first_is_recorded_once(replicas: Replicas) -> None:
    uids = [f"u{number}" for number in range(20)]
    await asyncio.gather(
        *(
            store.record_run(a_row(uid, version=version, phase=phase))
            for uid in uids
            for store, version, phase in (
                (replicas.here, 2, Phase.RUNNING),
                (replicas.there, 1, Phase.QUEUED),
            )
        )
    )
    page = await replicas.here.list_runs(RunFilter(), 100)
    assert sorted(row.run.metadata.uid for row in page.rows) == sorted([*uids, "uid-1"])
    for row in page.rows:
        if row.run.metadata.uid in uids:
            assert row.run.phase is Phase.RUNNING, "whoever came second saw what was there"


async def test_a_replica_with_a_lagging_watch_reverts_nothing(replicas: Replicas) -> None:
    over = replace(a_row(version=9, phase=Phase.COMPLETED), deleted_at=BEGIN)
    await asyncio.gather(
        replicas.here.record_run(over),
        *(replicas.there.record_run(a_row(version=version, session_uid="")) for version in (2, 3)),
    )
    row = await replicas.there.get_run_by_uid("uid-1")
    assert row is not None
    assert (row.run.phase, row.session_uid, row.deleted_at) == (Phase.COMPLETED, "s-1", BEGIN)
