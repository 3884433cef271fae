"""The interface between an attempt and its agent, whether in the pod or remote."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import OutcomeState, Usage
from agentrun.runner.gateway import Gateway
from agentrun.runner.outcome import End
from agentrun.runner.snapshot.restore import ResumePoint

if TYPE_CHECKING:
    from agentrun.runner.provider.proxy import ProviderProxy


class AgentConnection(Protocol):
    """The connection to the agent."""

    mcp_capabilities: Any
    """The MCP transports that the agent supports; None if it takes no servers."""

    @property
    def session_id(self) -> str:
        """The id with which the conversation can be resumed; empty if it cannot be."""

    @property
    def task_id(self) -> str:
        """The A2A task of the conversation, if the agent is remote."""

    async def begin(self) -> None:
        """Start the agent; its workspace and home are ready."""

    async def handshake(self) -> object:
        """Wait until the agent is ready."""

    async def cancel(self) -> None:
        """Cancel the agent's turn."""

    async def close_session(self, seconds: float) -> None:
        """Close the agent's session, so that the agent writes the conversation to disk."""

    def end(self) -> None:
        """Stop the agent."""

    async def ended(self) -> bool:
        """Wait until no process of the agent is alive; False if that can never be known."""

    async def close(self) -> None:
        """Release the connection's resources."""


class AgentDriver(Protocol):
    """A conversation with an agent."""

    usage: Usage | None
    cost: str | None
    """The cost of the conversation, earlier runs included."""
    prompt_sent: bool

    @property
    def stop_message(self) -> str:
        """The message of a run that was interrupted by a stop signal."""

    @property
    def agent(self) -> AgentConnection:
        """The connection to the agent."""

    def final_data(self, state: OutcomeState) -> dict[str, Any]:
        """Return the data about the conversation for the final event of a run with this state."""

    @property
    def delivered(self) -> int:
        """The seq of the newest message from the agent's mailbox that was delivered to it."""

    async def listen(self) -> None:
        """Follow the agent; does not return."""

    async def open(
        self, task: Task, cwd: str, servers: Sequence[Any] = (), origin: ResumePoint | None = None
    ) -> None:
        """Open the agent's session, and record that the run has started."""

    async def work(
        self,
        task: Task,
        proxy: "ProviderProxy | None",
        gateway: Gateway,
        origin: ResumePoint | None = None,
    ) -> End:
        """Run the task until the agent has finished."""

    def end_turn(self) -> None:
        """End the items that the agent has left open."""

    def note_read(self, seq: int) -> None:
        """Record that the agent itself has read all messages up to ``seq``."""

    async def acknowledge(self) -> None:
        """Report the delivered messages to the gateway, now that the conversation is stored."""
