"""The interface between an attempt and its agent, whether in the pod or remote."""

from typing import Any, Protocol

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import OutcomeState
from agentrun.runner.outcome import End
from agentrun.runner.snapshot.manifest import DriverState, ResumePoint


class AgentDriver(Protocol):
    """Drives an agent through one attempt."""

    async def listen(self) -> None:
        """Follow the agent; does not return. It runs as long as the driver is used."""

    async def start(self, task: Task, cwd: str, origin: ResumePoint | None) -> None:
        """
        Start the agent in ``cwd``, open its session, and record that the run has started.

        The session is a new one, or that of ``origin``. Raises AttemptError if this fails.
        """

    async def run(self) -> End:
        """Run the task until the agent has finished, or a question has expired; after ``start``."""

    async def interrupt(self) -> None:
        """Cancel the agent's turn; ``run`` ends soon after that."""

    async def end_session(self, seconds: float) -> None:
        """
        Record what the agent has left open, and close its session within some seconds.

        An agent that closes its session writes the conversation to disk. Raises OSError if the
        journal cannot be written.
        """

    async def stop(self) -> bool:
        """Kill the agent, and wait until no process of it is alive; False if that is uncertain."""

    async def close(self) -> None:
        """Kill the agent without waiting for its end, and release all resources."""

    def state(self) -> DriverState:
        """Return the state of the conversation."""

    def final_data(self, state: OutcomeState) -> dict[str, Any]:
        """Return the data about the conversation for the final event of a run with this state."""

    @property
    def stop_message(self) -> str:
        """The message of a run that was interrupted by a stop signal."""
