"""Compare what a runner reports of its end with a row of the catalogue of failures."""

from dataclasses import replace

from agentrun.api.v1alpha1 import AgentRun, AgentRunStatus, AgentStatus, Phase
from agentrun.controller.endings import ending_of
from dev.failures.row import Failure
from tests.events import check_order
from tests.failures import check_end
from tests.unit.runner.harness import FakeGateway

ENDS = {Phase.COMPLETED: "run_completed", Phase.FAILED: "run_failed", Phase.REJECTED: "rejected"}
"""The event that the runner sends for each terminal phase."""


def sooner(row: Failure, usual: float, seconds: float) -> Failure:
    """Return the row with another bound in its message, which has to name the usual one."""
    bound = f"{usual:.0f} s"
    assert bound in row.message, row
    return replace(row, message=row.message.replace(bound, f"{seconds:.0f} s"))


def check_told(row: Failure, gateway: FakeGateway) -> None:
    """Compare the outcome, and the run's end that the operator derives from it, with the row."""
    outcome = gateway.outcome
    assert outcome is not None
    status = AgentRunStatus(attempts=1, agent=AgentStatus(outcome=outcome))
    end = ending_of(AgentRun(spec=gateway.spec, status=status), None)
    check_end(row, end.phase, end.reason, end.message)
    check_order(gateway.events)
    ends = [event for event in gateway.events if event["type"] in ENDS.values()]
    assert ends == [gateway.events[-1]]
    assert ends[0]["type"] == ENDS[row.phase]
    assert ends[0]["data"]["message"] == outcome.message
