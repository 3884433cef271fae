"""Prompts at the terminal that do not block the event loop."""

import asyncio
import sys
from typing import Any

from agentrun.cli.answers import Question
from agentrun.cli.following import Interrupts
from agentrun.cli.screen import Screen


async def ask_line(screen: Screen, prompt: str, interrupts: Interrupts) -> str | None:
    """Prompt for a line and return it without surrounding whitespace; None at the end of input."""
    # Not input() in a thread: such a thread cannot be interrupted before the process ends.
    screen.ask(prompt)
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[str] = loop.create_future()

    def take() -> None:
        if not typed.done():
            typed.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), take)
    try:
        line = await interrupts.guard(typed)
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not line:
        screen.ask("\n")
        return None
    return line.strip()


def answer_to(question: Question | None, typed: str) -> dict[str, Any]:
    """
    Build the message that answers a question.

    The number, id or name of an option chooses it; any other text is sent as it is.
    """
    options = question.options if question else []
    # Numbers are assigned here; the agent chooses ids and names, which may be numbers too.
    numbered = [one for number, one in enumerate(options, start=1) if typed == str(number)]
    named = [one for one in options if typed.casefold() in (one.id.casefold(), one.name.casefold())]
    for option in numbered or named:
        return {"role": "user", "parts": [{"type": "data", "data": {"option_id": option.id}}]}
    return text_message(typed)


def text_message(*texts: str) -> dict[str, Any]:
    """Build a user message of the texts that are not empty."""
    return {"role": "user", "parts": [{"type": "text", "text": text} for text in texts if text]}
