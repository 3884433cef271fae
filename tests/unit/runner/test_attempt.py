"""The whole life of an attempt, against a scripted agent and a gateway in memory."""

from pathlib import Path

from agentrun.api.v1alpha1 import AgentState, OutcomeState
from tests.unit.runner.harness import a_gateway, pod


async def test_run_ships_what_the_agent_says_and_reports_its_outcome(tmp_path: Path) -> None:
    gateway = a_gateway(["run", "echo hello"], ["say", "done"])
    async with pod(tmp_path, gateway) as it:
        log = await it.ended()
    assert gateway.types == [
        "run_started", "status_changed", "command_started", "command_finished",
        "agent_message", "run_completed",
    ]  # fmt: skip
    assert [event["seq"] for event in gateway.events] == [1, 2, 3, 4, 5, 6]
    finished = gateway.data("command_finished")[0]
    assert (finished["output"], finished["exit_code"]) == ("hello\n", 0)
    assert gateway.data("run_completed")[0]["final_response"] == "done"
    assert gateway.outcome is not None
    assert gateway.outcome.state is OutcomeState.COMPLETED
    assert gateway.outcome == it.termination
    assert [state.state for state in gateway.states][:2] == [
        AgentState.PREPARING, AgentState.WORKING,
    ]  # fmt: skip
    assert gateway.states[-1].prompt_sent
    assert "$ echo hello" in log
    assert "(exit code 0)" in log
