"""
Agents that talk while something is restarted, killed or replaced: nothing may be lost or doubled.

How long that takes depends on the machine. So an agent talks for a while, waits until it is let go
(``cluster.let_go``), and ends its talk only then.
"""

from dataclasses import dataclass
from typing import Any

from tests.e2e.agents import UNTIL_GO

_PAUSE = 0.1
_LAST = 20


@dataclass(frozen=True)
class Talk:
    """A talk of so many messages, ten a second, and some more after the agent is let go."""

    messages: int

    @property
    def steps(self) -> list[list[Any]]:
        """What the agent does."""
        return [["talk", self.messages, _PAUSE], ["run", UNTIL_GO], ["talk", _LAST, _PAUSE]]

    @property
    def texts(self) -> list[str]:
        """All it says, in its order."""
        return [
            f"message {number}"
            for count in (self.messages, _LAST)
            for number in range(1, count + 1)
        ]
