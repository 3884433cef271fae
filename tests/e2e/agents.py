"""What the agents of the tests are told to do."""

import json
from typing import Any

GO = "/tmp/go"
"""The file in the agent's container whose coming lets an agent go on."""
UNTIL_GO = f"until [ -e {GO} ]; do sleep 0.1; done"
"""A command that holds an agent until ``cluster.let_go`` was called for its pod."""


def script(*steps: dict[str, Any]) -> str:
    """A prompt for a real agent: the scripted model plays these steps to it."""
    return f"Do what the script says.\n```script\n{json.dumps(steps)}\n```"


def trivial(*steps: list[Any]) -> str:
    """A prompt for the trivial agent."""
    return f"do\n{json.dumps(steps)}"
