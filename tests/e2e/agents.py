"""Prompts and commands for the agents of the tests."""

import json
from typing import Any

GO = "/tmp/go"
"""The file in the agent's container that lets a waiting agent continue."""
UNTIL_GO = f"until [ -e {GO} ]; do sleep 0.1; done"
"""A command that blocks an agent until ``cluster.let_go`` is called for its pod."""


def script(*steps: dict[str, Any]) -> str:
    """Build a prompt for a real agent; the scripted model performs these steps."""
    return f"Do what the script says.\n```script\n{json.dumps(steps)}\n```"


def trivial(*steps: list[Any]) -> str:
    """Build a prompt for the trivial agent."""
    return f"do\n{json.dumps(steps)}"
