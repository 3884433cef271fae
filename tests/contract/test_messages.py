"""What a MessageStore promises."""

import asyncio

import pytest

from agentrun.store.base import (
    MAX_MAILBOX_BYTES,
    MAX_MESSAGE_BYTES,
    MailboxFullError,
    MailboxState,
    RunStore,
    StoreUnavailableError,
    TooLargeError,
)
from agentrun.store.sql import open_store
from tests.contract.builders import a_message
from tests.contract.waiting import LONG, begin_waiting


async def test_messages_are_numbered_from_one_and_never_change(store: RunStore) -> None:
    first = a_message("m-1", sender="two", metadata={"reply_to": "x", "none": None, "n": 1})
    sent = [await store.messages.send(one) for one in (first, a_message("m-2"))]
    assert [one.seq for one in sent] == [1, 2]
    read = await store.messages.fetch("s-1", 0, 10)
    assert read == sent
    assert read[0].sent == first
    assert await store.messages.mailbox("s-1") == MailboxState(last_seq=2)


async def test_each_mailbox_has_its_own_sequence_numbers(store: RunStore) -> None:
    await store.messages.send(a_message("m-1", to="s-1"))
    assert (await store.messages.send(a_message("m-1", to="s-2"))).seq == 1
    assert await store.messages.fetch("s-3", 0, 10) == []
    assert await store.messages.mailbox("s-3") == MailboxState()


async def test_messages_are_fetched_after_a_cursor(store: RunStore) -> None:
    for number in range(1, 6):
        await store.messages.send(a_message(f"m-{number}"))
    assert [one.seq for one in await store.messages.fetch("s-1", 1, 3)] == [2, 3, 4]
    assert [one.seq for one in await store.messages.fetch("s-1", 4, 3)] == [5]
    assert await store.messages.fetch("s-1", 5, 3) == []


async def test_a_message_that_is_sent_again_is_stored_once(store: RunStore) -> None:
    first = await store.messages.send(a_message("m-1", "first"))
    await store.messages.send(a_message("m-2"))
    assert await store.messages.send(a_message("m-1", "again")) == first
    assert (await store.messages.mailbox("s-1")).last_seq == 2


async def test_concurrent_sends_leave_neither_gaps_nor_duplicates(store: RunStore) -> None:
    sent = await asyncio.gather(*(store.messages.send(a_message(f"m-{n}")) for n in range(40)))
    assert sorted(one.seq for one in sent) == list(range(1, 41))
    assert [one.seq for one in await store.messages.fetch("s-1", 0, 100)] == list(range(1, 41))


async def test_a_message_may_be_large_but_not_too_large(store: RunStore) -> None:
    fits = a_message("m-1", "x" * (MAX_MESSAGE_BYTES // 2 - 200))
    fits.body.parts.append(fits.body.parts[0])
    await store.messages.send(fits)
    fits.body.parts.append(fits.body.parts[0])
    with pytest.raises(TooLargeError, match=rf"more than {MAX_MESSAGE_BYTES}.*send its location"):
        await store.messages.send(fits)
    assert (await store.messages.mailbox("s-1")).last_seq == 1


async def test_a_full_mailbox_accepts_no_more(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_MAILBOX_BYTES > 200 * MAX_MESSAGE_BYTES
    monkeypatch.setattr("agentrun.store.message_text.MAX_MAILBOX_BYTES", 1000)
    await store.messages.send(a_message("m-1", "x" * 400))
    with pytest.raises(MailboxFullError, match=r"mailbox of one is full.*Start another agent"):
        await store.messages.send(a_message("m-2", "x" * 600))
    assert (await store.messages.send(a_message("m-3", "x" * 100))).seq == 2, "no gap"


async def test_the_delivered_number_never_decreases(store: RunStore) -> None:
    await store.messages.deliver("s-1", 3)
    assert (await store.messages.mailbox("s-1")).delivered_seq == 0, "there is nothing"
    for number in range(1, 4):
        await store.messages.send(a_message(f"m-{number}"))
    for seq, noted in ((2, 2), (1, 2), (9, 3)):
        await store.messages.deliver("s-1", seq)
        assert await store.messages.mailbox("s-1") == MailboxState(3, noted)
    await store.messages.send(a_message("m-4"))
    assert await store.messages.mailbox("s-1") == MailboxState(4, 3)


async def test_a_message_wakes_the_waiters_of_its_mailbox_only(store: RunStore) -> None:
    await store.messages.send(a_message("m-1"))
    eager = await begin_waiting(store.messages.changes("s-1", 1))
    patient = await begin_waiting(store.messages.changes("s-1", 2))
    other = await begin_waiting(store.messages.changes("s-2", 0))
    await store.messages.send(a_message("m-2"))
    await eager
    assert not patient.done()
    assert not other.done()
    await store.messages.send(a_message("m-3"))
    await patient
    other.cancel()


async def test_a_message_sent_before_the_wait_is_not_missed(store: RunStore) -> None:
    async with store.messages.changes("s-1", 0) as changes:
        await store.messages.send(a_message("m-1"))
        await changes.next(LONG)


async def test_waiting_for_a_message_ends_at_its_timeout(store: RunStore) -> None:
    async with store.messages.changes("s-1", 0) as changes:
        await changes.next(0.01)


async def test_closing_wakes_waiters_for_messages(store: RunStore) -> None:
    waiting = await begin_waiting(store.messages.changes("s-1", 0))
    await store.close()
    await waiting
    with pytest.raises(StoreUnavailableError):
        await store.messages.send(a_message())


@pytest.mark.parametrize("store_url", ["sqlite", "postgresql"], indirect=True)
async def test_messages_survive_the_process(store_url: str) -> None:
    before = await open_store(store_url)
    sent = await before.messages.send(a_message())
    await before.messages.deliver("s-1", 1)
    await before.close()
    after = await open_store(store_url)
    assert await after.messages.fetch("s-1", 0, 10) == [sent]
    assert await after.messages.mailbox("s-1") == MailboxState(1, 1)
    await after.close()
