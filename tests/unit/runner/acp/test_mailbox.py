"""Messages on their last way: from the gateway to the agent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from agentrun.api.events import EventType
from agentrun.api.gateway import MailboxMessage, Messages
from agentrun.api.v1alpha1 import AgentTools, OutcomeState
from agentrun.runner.acp import mailbox
from agentrun.runner.acp.mailbox import MAX_TURNS, Delivery, Mailbox, render
from agentrun.runner.gateway import (
    Gateway,
    GatewayRefusedError,
    GatewayUnavailableError,
    RunFinishedError,
    report_delivered,
)
from agentrun.runner.journal.journal import Journal
from agentrun.runner.outcome import End
from tests.events import said
from tests.unit.runner.harness import AGENT, FakeGateway, a_gateway, pod
from tests.waiting import LATE_SECONDS

DONE = End(OutcomeState.COMPLETED, None, "")


def mail(seq: int, text: str = "", sender: str | None = "ada") -> MailboxMessage:
    body = {"role": "agent", "parts": [{"type": "text", "text": text or f"Message {seq}"}]}
    return MailboxMessage.model_validate(
        {
            "message_id": f"m-{seq}",
            "seq": seq,
            "created_at": "2026-11-25T00:00:00.000Z",
            "body": body,
            "from_agent_name": sender,
        }
    )


class Post:
    """A gateway, a journal and an agent: what a mailbox stands between."""

    def __init__(self) -> None:
        self.mail: list[MailboxMessage] = []
        self.delivered_seqs: list[int] = []
        self.events: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        """What the next requests are answered with."""
        self.can_steer = True
        self.answers: list[bool] = []
        """Whether the agent takes what comes next; it takes what comes after these."""
        self.injected: list[str] = []
        self.tries = 0
        self.is_slow = False
        self.changed = asyncio.Condition()

    async def messages(self, after: int, wait_ms: int) -> Messages:
        if self.errors:
            raise self.errors.pop(0)
        if wait_ms:
            async with self.changed:
                await self.changed.wait_for(lambda: any(one.seq > after for one in self.mail))
        return Messages(messages=[one for one in self.mail if one.seq > after])

    async def delivered(self, seq: int) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.delivered_seqs.append(seq)

    def add(self, kind: EventType, data: dict[str, Any]) -> None:
        self.events.append({"type": kind, **data})

    async def steer(self, text: str) -> bool:
        self.tries += 1
        if self.is_slow:
            await asyncio.sleep(0.05)  # The slow agent of the test.
        is_taken = self.answers.pop(0) if self.answers else True
        if is_taken:
            self.injected.append(text)
        async with self.changed:
            self.changed.notify_all()
        return is_taken

    async def write(self, *letters: MailboxMessage) -> None:
        async with self.changed:
            self.mail += letters
            self.changed.notify_all()

    async def until(self, condition: Any) -> None:
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(condition), LATE_SECONDS)

    def mailbox(self, delivery: Delivery = "Steer", known: int = 0) -> Mailbox:
        made = Mailbox(self, cast(Journal, self), cast(Gateway, self))
        made.open(delivery, known)
        return made


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    monkeypatch.setattr(mailbox, "_STEER_PAUSES", (0.001,))
    monkeypatch.setattr("agentrun.runner.gateway._PAUSES", (0.001,))
    return Post()


async def test_pending_messages_start_another_turn(post: Post) -> None:
    box = post.mailbox("BetweenTurns")
    async with box.turn():
        post.mail += [mail(1), mail(2, sender=None)]
    text = await box.next_turn(DONE)
    assert text == (
        "Message 1 from agent ada (message_id m-1):\n\nMessage 1\n\n"
        "Message 2 from an unnamed sender (message_id m-2):\n\nMessage 2"
    )
    assert [one["seq"] for one in post.events] == [1, 2]
    assert post.events[0] == {
        "type": "message_added",
        "message": {"role": "agent", "parts": [{"type": "text", "text": "Message 1"}]},
        "role": "agent",
        "text": "Message 1",
        "from_agent_name": "ada",
        "seq": 1,
        "message_id": "m-1",
        "delivery": "between_turns",
    }
    assert post.injected == []
    assert box.delivered == 0, "only the turn gives them to the agent"
    async with box.turn():
        pass
    assert box.delivered == 2
    assert post.delivered_seqs == [], "the conversation may still be lost"
    await report_delivered(cast(Gateway, post), box.delivered)
    assert post.delivered_seqs == [2]
    assert await box.next_turn(DONE) is None


async def test_messages_already_in_the_conversation_are_not_delivered_again(post: Post) -> None:
    post.mail += [mail(1), mail(2)]
    box = post.mailbox("BetweenTurns", known=1)
    assert await box.next_turn(DONE) == render(mail(2))


async def test_messages_are_not_fetched_if_the_agent_fetches_them_itself(post: Post) -> None:
    post.mail += [mail(1)]
    box = post.mailbox("Pull")
    async with box.turn():
        pass
    assert await box.next_turn(DONE) is None
    await report_delivered(cast(Gateway, post), box.delivered)
    assert (post.events, post.delivered_seqs, post.injected) == ([], [], [])


async def test_a_failed_turn_is_not_followed_by_another(post: Post) -> None:
    post.mail += [mail(1)]
    end = End(OutcomeState.FAILED, None, "refused")
    assert await post.mailbox("BetweenTurns").next_turn(end) is None
    assert post.events == []


async def test_the_number_of_turns_started_by_messages_is_limited(post: Post) -> None:
    box = post.mailbox("BetweenTurns")
    for seq in range(1, MAX_TURNS + 1):
        post.mail.append(mail(seq))
        assert await box.next_turn(DONE)
        async with box.turn():
            pass
    assert await box.next_turn(DONE) is None
    post.mail.append(mail(MAX_TURNS + 1))
    assert await box.next_turn(DONE) is None
    assert post.events[-1]["type"] == "reasoning"
    assert box.delivered == MAX_TURNS, "the last waits for the session's next run"


async def test_messages_are_added_to_the_turn(post: Post) -> None:
    box = post.mailbox()
    async with box.turn():
        await post.write(mail(1))
        await post.until(lambda: len(post.injected) == 1)
        await post.write(mail(2), mail(3))
        await post.until(lambda: len(post.injected) == 3)
    assert post.injected == [render(mail(seq)) for seq in (1, 2, 3)]
    assert [(one["seq"], one["delivery"]) for one in post.events] == [
        (1, "steered"),
        (2, "steered"),
        (3, "steered"),
    ]
    assert box.delivered == 3
    assert await box.next_turn(DONE) is None


async def test_messages_fetched_by_the_agent_start_no_turn(post: Post) -> None:
    post.mail += [mail(1), mail(2)]
    box = post.mailbox("BetweenTurns")
    async with box.turn():
        box.note_read(1)
    assert await box.next_turn(DONE) == render(mail(2))
    assert box.delivered == 1


async def test_messages_that_the_agent_does_not_accept_yet_are_retried(post: Post) -> None:
    post.answers = [False, False]
    async with post.mailbox().turn():
        await post.write(mail(1))
        await post.until(lambda: len(post.injected) == 1)
    assert post.tries == 3


async def test_messages_that_no_turn_accepted_start_a_new_one(post: Post) -> None:
    post.answers = [False] * 100_000
    box = post.mailbox()
    async with box.turn():
        await post.write(mail(1))
        await post.until(lambda: post.tries >= 2)
    assert (post.injected, box.delivered) == ([], 0)
    assert await box.next_turn(DONE) == render(mail(1))


async def test_messages_to_an_agent_that_cannot_be_steered_start_turns(post: Post) -> None:
    post.can_steer = False
    post.mail += [mail(1)]
    box = post.mailbox()
    async with box.turn():
        pass
    assert (post.tries, await box.next_turn(DONE)) == (0, render(mail(1)))


async def test_an_ending_turn_waits_for_the_response_of_the_agent(post: Post) -> None:
    post.is_slow = True
    box = post.mailbox()
    async with box.turn():
        await post.write(mail(1))
        while post.tries == 0:  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)
        assert post.injected == []
    assert post.injected == [render(mail(1))], "not given twice, and not lost"
    assert box.delivered == 1


async def test_a_failed_turn_has_received_its_messages(post: Post) -> None:
    box = post.mailbox()

    async def fail() -> None:
        async with box.turn():
            await post.write(mail(1))
            await post.until(lambda: len(post.injected) == 1)
            raise RuntimeError("the agent ended")

    with pytest.raises(RuntimeError):
        await fail()
    assert box.delivered == 1


async def test_an_unavailable_gateway_is_retried(post: Post) -> None:
    post.errors = [GatewayUnavailableError("away")] * 3
    post.mail += [mail(1)]
    box = post.mailbox("BetweenTurns")
    assert await box.next_turn(DONE)
    async with box.turn():
        pass
    post.errors = [GatewayUnavailableError("away")]
    await report_delivered(cast(Gateway, post), box.delivered)
    assert post.delivered_seqs == [], "the run ends well without that"


async def test_the_run_continues_if_the_gateway_stays_unavailable(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_PATIENCE_SECONDS", 0.05)
    post.errors = [GatewayUnavailableError("away")] * 100_000
    assert await post.mailbox("BetweenTurns").next_turn(DONE) is None


@pytest.mark.parametrize(
    "error", [GatewayRefusedError("404 not_found"), RunFinishedError("410 sealed")]
)
async def test_a_gateway_that_does_not_support_messages_is_asked_once(
    post: Post, error: Exception
) -> None:
    post.errors, post.mail = [error], [mail(1)]
    box = post.mailbox()
    async with box.turn():
        pass
    assert await box.next_turn(DONE) is None
    assert post.injected == []


# With an agent's program


@asynccontextmanager
async def receiving(
    root: Path, deliver: Delivery, *steps: list[Any], **env: str
) -> AsyncIterator[tuple[FakeGateway, Any]]:
    gateway = a_gateway(*steps)
    gateway.profile.agent_tools = AgentTools(deliver_messages=deliver)
    command = ["env", *(f"{name}={value}" for name, value in env.items()), *AGENT]
    async with pod(root, gateway, command) as it:
        yield gateway, it


@pytest.mark.slow
async def test_an_agent_answers_messages_in_separate_turns(tmp_path: Path) -> None:
    go = tmp_path / "go"
    steps = (["run", f"until [ -e {go} ]; do sleep 0.05; done"], ["say", "first"])
    async with receiving(tmp_path, "BetweenTurns", *steps) as (post, it):
        await post.until(lambda: "command_started" in post.types)
        await post.write(mail(1, json.dumps([["say", "second"]])))
        go.touch()
        await it.ended()
    assert said(post.events) == ["first", "second"]
    assert post.types.index("message_added") == post.types.index("agent_message") + 1
    assert post.outcome is not None
    assert post.outcome.result is not None
    assert post.outcome.result.summary == "second"
    assert post.delivered == 1


@pytest.mark.slow
async def test_an_agent_that_can_be_steered_receives_messages_in_its_turn(tmp_path: Path) -> None:
    steps = (["run", "true"], ["hear", 20])
    async with receiving(tmp_path, "Steer", *steps, ACP_AGENT_STEERING="yes") as (post, it):
        await post.until(lambda: "command_finished" in post.types)
        await post.write(mail(1, "Listen!"))
        await it.ended()
    assert post.data("agent_message")[-1]["text"] == f"heard: {render(mail(1, 'Listen!'))}"
    assert [one["delivery"] for one in post.data("message_added")] == ["steered"]
    assert post.delivered == 1


@pytest.mark.slow
async def test_an_agent_that_cannot_be_steered_gets_a_turn_instead(tmp_path: Path) -> None:
    async with receiving(tmp_path, "Steer", ["say", "first"]) as (post, it):
        await post.write(mail(1, json.dumps([["say", "second"]])))
        await it.ended()
    assert [one["delivery"] for one in post.data("message_added")] == ["between_turns"]
    assert said(post.events) == ["first", "second"]


@pytest.mark.slow
async def test_an_agent_that_fetches_messages_itself_is_given_none(tmp_path: Path) -> None:
    async with receiving(tmp_path, "Pull", ["say", "first"]) as (post, it):
        await post.write(mail(1))
        await it.ended()
    assert "message_added" not in post.types
    assert post.delivered == 0


@pytest.mark.slow
async def test_what_was_delivered_is_reported_after_the_snapshot_is_kept(tmp_path: Path) -> None:
    async with receiving(tmp_path, "BetweenTurns", ["run", "true"]) as (post, it):
        await post.write(mail(1, json.dumps([["say", "heard it"]])))
        await it.ended()
    kept = post.asked.index("PUT /v1/blobs/snapshots/1/manifest.json")
    known = max(i for i, one in enumerate(post.asked[:-1]) if one == "POST /v1/state")
    assert kept < known < post.asked.index("POST /v1/delivered")
    assert json.loads(post.blobs["snapshots/1/manifest.json"])["delivered_message"] == 1


@pytest.mark.slow
async def test_a_message_is_delivered_again_after_the_runner_died_during_its_turn(
    tmp_path: Path,
) -> None:
    async with receiving(tmp_path / "1", "BetweenTurns", ["say", "first"]) as (post, it):
        await post.write(mail(1, json.dumps([["run", "true"], ["sleep", 600]])))
        await post.until(lambda: "command_finished" in post.types)
        it.runner.kill()
        await it.runner.wait()
    assert post.types.count("message_added") == 1
    assert (post.delivered, post.outcome) == (0, None)


@pytest.mark.slow
async def test_a_resumed_attempt_does_not_receive_known_messages_again(tmp_path: Path) -> None:
    async with receiving(tmp_path / "1", "BetweenTurns", ["run", "true"]) as (post, it):
        await post.write(mail(1, json.dumps([["say", "heard it"]])))
        await it.ended()
    # The acknowledgement got lost; the snapshot is what counts.
    other = post.next_attempt(prompt=json.dumps([["recall"]]))
    other.mail = [mail(1, json.dumps([["say", "twice"]])), mail(2, json.dumps([["say", "more"]]))]
    async with pod(tmp_path / "2", other) as it:
        await it.ended()
    assert [one["seq"] for one in other.data("message_added")] == [2]
    recalled, last = said(other.events)
    assert "Message 1 from agent ada" in recalled
    assert last == "more"
    assert other.delivered == 2
