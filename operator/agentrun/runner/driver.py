"""What an attempt needs of a conversation, whether its agent is in the pod or elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import OutcomeState, Usage
from agentrun.runner.gateway import Gateway
from agentrun.runner.outcome import End
from agentrun.runner.snapshot.restore import ResumePoint

if TYPE_CHECKING:
    from agentrun.runner.proxy import ProviderProxy


class AgentConnection(Protocol):
    """The agent's side."""

    mcp_capabilities: Any
    """Which MCP servers the agent can be given; None if it takes none."""

    @property
    def session_id(self) -> str:
        """What the conversation can be found by again; empty if it cannot."""

    @property
    def task_id(self) -> str:
        """The remote task that the conversation is in, if its agent is elsewhere."""

    async def begin(self) -> None:
        """Let the agent begin: what it finds is ready."""

    async def handshake(self) -> object:
        """Wait until the agent is there."""

    async def cancel(self) -> None:
        """Ask the agent to stop by itself."""

    async def close_session(self, seconds: float) -> None:
        """Have the agent write down the conversation, before it ends."""

    def end(self) -> None:
        """End the agent."""

    async def ended(self) -> bool:
        """Wait until it is certain that nothing of it lives; False if that will never be known."""

    async def close(self) -> None:
        """Let go of what the conversation held."""


class AgentDriver(Protocol):
    """A conversation with an agent."""

    usage: Usage | None
    cost: str | None
    """What the conversation has cost, earlier runs included."""
    prompt_sent: bool

    @property
    def stop_message(self) -> str:
        """How the run is said to have been interrupted."""

    @property
    def agent(self) -> AgentConnection:
        """The agent's side."""

    def final_data(self, state: OutcomeState) -> dict[str, Any]:
        """Return what the last event of a run that ends so says of the conversation."""

    @property
    def delivered(self) -> int:
        """The newest message of the agent's mailbox that it was given."""

    async def listen(self) -> None:
        """Follow the agent, for ever."""

    async def open(
        self, task: Task, cwd: str, servers: Sequence[Any] = (), origin: ResumePoint | None = None
    ) -> None:
        """Open the agent's session, and say that the run has started."""

    async def work(
        self,
        task: Task,
        proxy: "ProviderProxy | None",
        gateway: Gateway,
        origin: ResumePoint | None = None,
    ) -> End:
        """Give the agent its task, and stay with it until it is done."""

    def end_turn(self) -> None:
        """End whatever the agent still had under way."""

    def note_read(self, seq: int) -> None:
        """Note that the agent itself has taken all messages up to ``seq``."""

    async def acknowledge(self) -> None:
        """Say which messages the agent was given, now that the conversation is kept."""
