"""Attempts with a remote agent: the real SDK's server on the loopback, and the real runner."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agentrun.api import pod_layout
from agentrun.api.messages import AgentMessage
from agentrun.api.v1alpha1 import AgentState, Input, OutcomeState
from dev.a2a.server import TOKEN
from tests.events import said
from tests.unit.runner.harness import RUN, FakeGateway, an_answer, prepare, write
from tests.unit.runner.remotes import SPOKEN, Agents, a_pod, asks, finish, ref_of

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
WAITS = {"agentrun.runner.attempt._CANCEL_SECONDS": 2.0}
"""For what does not end, however long it is given."""
DEAF = WAITS | {"agentrun.runner.a2a.following._CANCEL_SECONDS": 0.2}
PATIENT = dict.fromkeys(DEAF, 30.0)
"""For what ends at once, unless the machine is busy."""


async def talk(root: Path, gateway: FakeGateway) -> str:
    """Live a run whose agent asks which one, and then who it is that speaks; return its log."""
    async with a_pod(root, gateway) as it:
        await answer(gateway, AgentState.INPUT_REQUIRED, "Which one?", "the second")
        await answer(gateway, AgentState.AUTH_REQUIRED, "Who are you?", "it is me")
        return await it.ended()


async def answer(gateway: FakeGateway, state: AgentState, asked: str, words: str) -> None:
    """Wait until a run asks something, or has ended without it, and answer."""
    await gateway.until(
        lambda: gateway.outcome or (gateway.states and gateway.states[-1].state is state)
    )
    assert gateway.outcome is None, gateway.outcome
    assert gateway.question is not None
    assert gateway.question.text == asked
    await gateway.give(an_answer(words), gateway.question.id)


def check_completed(gateway: FakeGateway) -> dict[str, Any]:
    """Hold a run to what is true of each that is completed; return its last event's data."""
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED, gateway.outcome
    assert [event["seq"] for event in gateway.events] == list(range(1, len(gateway.events) + 1))
    assert (gateway.types[0], gateway.types[-1]) == ("run_started", "run_completed")
    statuses = {one["status"] for one in gateway.data("status_changed")}
    assert not statuses & {"completed", "failed", "cancelled", "rejected"}, "that is not its to say"
    end: dict[str, Any] = gateway.data("run_completed")[0]
    return end


@pytest.mark.parametrize("agent", SPOKEN)
async def test_task_is_followed_to_its_end(tmp_path: Path, agents: Agents, agent: str) -> None:
    gateway = asks(
        agents.at(agent),
        ["say", "I begin"], ["ask", "Which one?"], ["auth", "Who are you?"],
        ["artifact", "report", "all is well", 3], ["data", "numbers", {"n": 1}],
        ["artifact", "big", "x" * 30_000, 3], ["binary", "bytes", 100_000],
    )  # fmt: skip
    log = await talk(tmp_path, gateway)
    end, ref = check_completed(gateway), ref_of(gateway)
    assert end["final_response"].startswith("all is well\n\nx")
    assert "I begin" in said(gateway.events)
    assert "+ artifact report\n" in log
    assert agents.told(agent, gateway)[1:] == ["the second", "it is me"]
    assert gateway.states[-1].acknowledged_input == 2
    assert (ref.provider, ref.agent_name, ref.agent_url) == (
        "remote_a2a", "scripted", agents.at(agent),
    )  # fmt: skip
    assert gateway.states[-1].session_id == ref.context_id
    changes = gateway.data("status_changed")
    assert {one["task_id"] for one in changes if one.get("task_id")} == {ref.task_id}
    assert changes[-1]["remote_ref"] == ref.model_dump()
    assert {key: end[key] for key in ("agent_url", "context_id", "task_id")} == {
        "agent_url": ref.agent_url, "context_id": ref.context_id, "task_id": ref.task_id,
    }  # fmt: skip
    made = [one["artifact_id"] for one in end["artifacts"]]
    assert made == ["report", "numbers", "big", "bytes"]
    check_artifacts(gateway)


async def test_unfinished_artifact_is_in_the_events_while_the_agent_is_silent(
    tmp_path: Path, agents: Agents
) -> None:
    gateway = asks(agents.at("streaming"), ["begin", "report", "first half"], ["sleep", 60])
    async with a_pod(tmp_path, gateway, bounds=WAITS) as it:
        await gateway.until(lambda: gateway.data("artifact_added"))
        assert gateway.data("artifact_added")[0]["text"] == "first half"
        it.terminate()
        await it.ended()


def check_artifacts(gateway: FakeGateway) -> None:
    """Read what the events only preview."""
    made = gateway.data("artifact_added")
    found = {one["artifact_id"]: one for one in made}
    assert len(made) == len(found) == 4, "each is told of once"
    assert found["report"]["text"] == "all is well"
    assert found["numbers"]["parts"][0]["data"] == {"n": 1}
    assert whole(gateway, found["big"], "/text") == "x" * 30_000
    (part,) = json.loads(whole(gateway, found["bytes"], "/parts"))
    assert base64.b64decode(part["raw"]) == bytes(100_000)
    assert part["mediaType"] == "application/octet-stream"


def whole(gateway: FakeGateway, data: dict[str, Any], field: str) -> str:
    return gateway.blobs[data["artifact_refs"][field]["relpath"]].decode()


@pytest.mark.parametrize("agent", ["streaming", "old"])
async def test_interrupted_streams_are_resumed(tmp_path: Path, agents: Agents, agent: str) -> None:
    """That of each message does, in another way, while the task goes on."""
    gateway = asks(
        agents.at(agent),
        ["say", "before"], ["drop"], ["sleep", 0.5], ["ask", "Which one?"],
        ["hush"], ["sleep", 0.5], ["auth", "Who are you?"],
        ["garble"], ["sleep", 0.5], ["artifact", "a", "after"],
    )  # fmt: skip
    await talk(tmp_path, gateway)
    assert check_completed(gateway)["final_response"] == "after"
    told = said(gateway.events)
    assert told.count("before") == 1
    marks = [text.partition(" ")[0] for text in told if text.startswith("(")]
    assert marks == ["(drop", "(hush", "(garble"], "each is told of once"
    assert agents.told(agent, gateway)[1:] == ["the second", "it is me"]


@pytest.mark.parametrize("fault", ["drop", "hush", "garble"])
async def test_task_whose_stream_is_interrupted_is_followed_to_its_end(
    tmp_path: Path, agents: Agents, fault: str
) -> None:
    steps: list[list[Any]] = [["say", "before"], [fault], ["sleep", 0.5], ["artifact", "a", "ok"]]
    gateway = asks(agents.at("streaming"), *steps)
    await finish(tmp_path, gateway)
    assert check_completed(gateway)["final_response"] == "ok"
    assert said(gateway.events).count("before") == 1
    assert len(agents.told("streaming", gateway)) == 1


@pytest.mark.parametrize(
    ("step", "state", "last"),
    [
        ("fail", OutcomeState.FAILED, "run_failed"),
        ("reject", OutcomeState.REJECTED, "rejected"),
    ],
)
async def test_unsuccessful_end_reports_the_reason(
    tmp_path: Path, agents: Agents, step: str, state: OutcomeState, last: str
) -> None:
    gateway = asks(agents.at("streaming"), [step, "I will not"])
    await finish(tmp_path, gateway)
    assert gateway.outcome is not None
    assert (gateway.outcome.state, gateway.outcome.message) == (state, "I will not")
    assert gateway.types[-1] == last
    assert "run_completed" not in gateway.types


@pytest.mark.parametrize("agent", ["streaming", "old-polled"])
@pytest.mark.parametrize(
    ("step", "bounds", "words"),
    [
        pytest.param(["say", "hello"], PATIENT, "is canceled.", id="done"),
        pytest.param(["ask", "Which one?"], WAITS, "is canceled.", id="while-it-waits"),
        pytest.param(["stubborn"], WAITS, "could not be cancelled: ", id="refused"),
        pytest.param(["deaf"], DEAF, "could not be cancelled: no answer within", id="unanswered"),
    ],
)
async def test_cancel_reaches_the_remote_task_or_states_that_it_could_not(
    tmp_path: Path,
    agents: Agents,
    agent: str,
    step: list[Any],
    bounds: Mapping[str, float],
    words: str,
) -> None:
    gateway = asks(agents.at(agent), step, ["sleep", 3600])
    async with a_pod(tmp_path, gateway, grace=100, bounds=bounds) as it:
        if step[0] == "ask":
            await gateway.until(lambda: gateway.question)
        await gateway.until(
            lambda: any(one.remote_ref and one.remote_ref.task_id for one in gateway.states)
        )
        gateway.desired_state = "Cancelled"
        it.terminate()
        await it.ended()
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.INTERRUPTED
    message, task = gateway.outcome.message or "", ref_of(gateway).task_id
    assert message.startswith(f"Remote task {task} of {agents.at(agent)} {words}")
    assert task in agents.scripted[agent].cancelled


async def test_stop_during_a_wait_leaves_the_task_running_if_the_run_continues(
    tmp_path: Path, agents: Agents
) -> None:
    gateway = asks(agents.at("streaming"), ["ask", "which?"])
    async with a_pod(tmp_path, gateway, grace=20, bounds=WAITS) as it:
        await gateway.until(lambda: gateway.question)
        it.terminate()
        await it.ended()
    assert ref_of(gateway).task_id not in agents.scripted["streaming"].cancelled
    assert gateway.outcome is not None
    assert "is still waiting" in (gateway.outcome.message or "")


async def test_wait_outlives_the_pod_and_the_remote_task_continues(
    tmp_path: Path, agents: Agents
) -> None:
    gateway = asks(agents.at("streaming"), ["artifact", "a", "one"], ["ask", "which?"], ["recall"])
    await finish(tmp_path / "1", gateway, idle=0.5)
    first = gateway.outcome
    assert first is not None
    assert first.waiting, first
    question = gateway.question
    assert question is not None
    again = gateway.next_attempt()
    await again.give(an_answer("the second"), question.id)
    await finish(tmp_path / "2", again)
    task = ref_of(gateway).task_id
    assert check_completed(again)["task_id"] == task
    assert agents.told("streaming", gateway)[1:] == ["the second"]
    assert task not in agents.scripted["streaming"].cancelled
    artifacts = [one["artifact_id"] for one in again.data("artifact_added")]
    assert artifacts == ["recall"], "what was told before is not told again"


async def test_data_part_is_the_structured_answer(tmp_path: Path, agents: Agents) -> None:
    step = ["data", "answer", {"n": 7}]
    gateway = asks(agents.at("streaming"), step, outputSchema=SCHEMA)
    await finish(tmp_path, gateway)
    assert check_completed(gateway)["structured_output"] == {"n": 7}


async def test_data_alone_is_an_answer_without_a_schema(tmp_path: Path, agents: Agents) -> None:
    gateway = asks(agents.at("streaming"), ["data", "answer", {"n": 7}])
    await finish(tmp_path, gateway)
    end = check_completed(gateway)
    assert (json.loads(end["final_response"]), end["structured_output"]) == ({"n": 7}, {"n": 7})
    assert structured(gateway) == {"n": 7}


async def test_structured_answer_is_repaired_once(tmp_path: Path, agents: Agents) -> None:
    mended = ["later", [["artifact", "answer", '{"n": 7}']]]
    steps: list[list[Any]] = [mended, ["artifact", "answer", "seven"]]
    gateway = asks(agents.at("streaming"), *steps, outputSchema=SCHEMA)
    await finish(tmp_path, gateway)
    assert check_completed(gateway)["structured_output"] == {"n": 7}
    assert structured(gateway) == {"n": 7}
    assert len(agents.told("streaming", gateway)) == 2, "in the same conversation"


async def test_structured_answer_that_is_invalid_twice_is_discarded(
    tmp_path: Path, agents: Agents
) -> None:
    again = ["later", [["artifact", "answer", "eight"]]]
    steps: list[list[Any]] = [again, ["artifact", "answer", "seven"]]
    gateway = asks(agents.at("streaming"), *steps, outputSchema=SCHEMA)
    await finish(tmp_path, gateway)
    assert gateway.outcome is not None
    end = (gateway.outcome.state, gateway.outcome.reason)
    assert end == (OutcomeState.FAILED, "OutputInvalid")
    assert structured(gateway) is None
    assert "run_completed" not in gateway.types
    assert len(agents.told("streaming", gateway)) == 2


def structured(gateway: FakeGateway) -> Any:
    """Return the structured answer that the run is reported to have."""
    assert gateway.outcome is not None
    return gateway.outcome.result and gateway.outcome.result.structured


async def test_slow_card_is_awaited_and_an_answer_without_a_task_is_the_runs_answer(
    tmp_path: Path, agents: Agents
) -> None:
    gateway = asks(agents.at("slow"), ["reply", "just so"])
    await finish(tmp_path, gateway)
    assert check_completed(gateway)["final_response"] == "just so"


async def test_parts_of_a_message_reach_the_agent_unchanged(tmp_path: Path, agents: Agents) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "data", "data": {"n": 1}}]
    message = {"role": "user", "parts": parts}
    gateway = asks(agents.at("streaming"), inputMessage=message, prompt="see here")
    await finish(tmp_path, gateway)
    assert agents.told("streaming", gateway) == ["see here\nlook"]


async def test_each_message_has_its_own_metadata(tmp_path: Path, agents: Agents) -> None:
    first = {"role": "user", "parts": [{"type": "text", "text": "x"}], "metadata": {"of": "task"}}
    gateway = asks(agents.at("streaming"), ["ask", "which one?"], inputMessage=first)
    answer = {"parts": [{"type": "text", "text": "this"}], "metadata": {"of": "answer"}}
    gateway.inputs = [Input(seq=1, message=AgentMessage.model_validate(answer))]
    await finish(tmp_path, gateway)
    metadata = agents.metadata("streaming", gateway)
    assert [one["of"] for one in metadata] == ["task", "answer"]
    assert {one["agentrun"]["run_id"] for one in metadata} == {RUN}


async def test_bearer_token_is_sent_and_never_shown(tmp_path: Path, agents: Agents) -> None:
    prepare(tmp_path)
    write(tmp_path, f"{pod_layout.BACKEND_SECRET}/auth_token", TOKEN)
    write(tmp_path, f"{pod_layout.BACKEND_SECRET}/agent_url", agents.at("bearer"))
    steps: list[list[Any]] = [["say", f"your token is {TOKEN}"], ["artifact", "a", "ok"]]
    gateway = asks(agents.at("bearer"), *steps)
    log = await finish(tmp_path, gateway)
    check_completed(gateway)
    assert any(text.startswith("your token is") for text in said(gateway.events))
    assert TOKEN not in json.dumps(gateway.events) + log


async def test_missing_card_is_named_with_its_url(tmp_path: Path, agents: Agents) -> None:
    gateway = asks(f"{agents.url}/elsewhere/card.json", ["say", "hello"])
    await finish(tmp_path, gateway)
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "ProviderError"
    assert "/elsewhere/card.json answered 404" in (gateway.outcome.message or "")


async def test_agent_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    gateway = asks("http://127.0.0.1:9", ["say", "hello"])
    await finish(tmp_path, gateway)
    assert gateway.outcome is not None
    assert gateway.outcome.reason == "ProviderError"
    assert "http://127.0.0.1:9/.well-known/agent-card.json" in (gateway.outcome.message or "")
    assert gateway.data("run_failed")[0]["agent_url"] == "http://127.0.0.1:9"


async def test_large_artifact_becomes_a_blob_and_memory_stays_small(
    tmp_path: Path, agents: Agents
) -> None:
    steps: list[list[Any]] = [["artifact", "big", "x" * 60_000, 4], ["ask", "go on?"]]
    gateway = asks(agents.at("streaming"), *steps)
    async with a_pod(tmp_path, gateway, is_new=True) as it:
        await gateway.until(lambda: "artifact_added" in gateway.types)
        resident = it.resident_kilobytes()
        await gateway.give(an_answer("yes"))
        await it.ended()
    assert gateway.data("artifact_added")[0]["artifact_refs"]
    # httpx loads rich where it finds it; here the command line needs it, the image has none. The
    # bound of 64 MiB is held in a pod (tests/e2e/test_a2a.py).
    assert resident < (64 + 4) * 1024
