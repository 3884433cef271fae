"""
Agents that send messages during a restart, crash or upgrade: none may be lost or duplicated.

The duration of the disruption depends on the machine. The agent therefore sends messages for a
while, waits for ``cluster.let_go``, and sends the rest only then.
"""

from dataclasses import dataclass
from typing import Any

from tests.e2e.agents import UNTIL_GO

_PAUSE = 0.1
_LAST = 20


@dataclass(frozen=True)
class Talk:
    """A number of messages, ten a second, and some more after ``cluster.let_go``."""

    messages: int

    @property
    def steps(self) -> list[list[Any]]:
        """The steps of the agent."""
        return [["talk", self.messages, _PAUSE], ["run", UNTIL_GO], ["talk", _LAST, _PAUSE]]

    @property
    def texts(self) -> list[str]:
        """All texts that it sends, in order."""
        return [
            f"message {number}"
            for count in (self.messages, _LAST)
            for number in range(1, count + 1)
        ]
