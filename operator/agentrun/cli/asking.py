"""Asking the person at the terminal, without holding up what goes on meanwhile."""

import asyncio
import sys
from typing import Any

from agentrun.cli.answers import Question
from agentrun.cli.following import Interrupts
from agentrun.cli.screen import Screen


async def ask_line(screen: Screen, prompt: str, interrupts: Interrupts) -> str | None:
    """Return the line that is typed; None at the end of input."""
    # Not by input() in a thread: nothing could end that before the process does.
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
    Make the message that answers a question.

    A number or the id or name of an option chooses it; anything else is said as it is.
    """
    options = question.options if question else []
    # The number is this program's; ids and names are the agent's, and might be numbers, too.
    numbered = [one for number, one in enumerate(options, start=1) if typed == str(number)]
    named = [one for one in options if typed.casefold() in (one.id.casefold(), one.name.casefold())]
    for option in numbered or named:
        return {"role": "user", "parts": [{"type": "data", "data": {"option_id": option.id}}]}
    return text_message(typed)


def text_message(*texts: str) -> dict[str, Any]:
    """Make a message of texts."""
    return {"role": "user", "parts": [{"type": "text", "text": text} for text in texts if text]}
