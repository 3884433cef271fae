"""What the agents of the tests are told to do."""

import json
from typing import Any


def script(*steps: dict[str, Any]) -> str:
    """A prompt for a real agent: the scripted model plays these steps to it."""
    return f"Do what the script says.\n```script\n{json.dumps(steps)}\n```"


def trivial(*steps: list[Any]) -> str:
    """A prompt for the trivial agent."""
    return f"do\n{json.dumps(steps)}"
