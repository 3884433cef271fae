"""Chooses the next steps, from the newest prompt and the results since."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Step = dict[str, Any]

_BLOCK = re.compile(r"```script\s*\n(.*?)```", re.DOTALL)
# What agents add to the conversation in the user's role.
_NOT_FROM_THE_USER = ("<", "# AGENTS.md", "[Request interrupted", "Caveat:", "Tool loaded.")
_REFERENCE = re.compile(r"\{\{(\w+)\}\}")
PAUSE = "python3 -c 'import time; time.sleep(1)'"
"""The command that the agent runs while the model waits for something."""


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Data:
    """A server-sent event without a name, in serialized form."""

    text: str


@dataclass(frozen=True)
class Pause:
    """A pause without any output."""

    seconds: float


class Cut:
    """The connection ends in the middle of the stream."""


Playable = Event | Data | Pause | Cut


class ScriptError(ValueError):
    """The script is invalid. The model responds with the reason."""


def is_prompt(text: str) -> bool:
    """Return whether a text is a prompt, and not added by the agent."""
    return bool(text.strip()) and not text.lstrip().startswith(_NOT_FROM_THE_USER)


def steps_of(prompt: str) -> list[Step]:
    """Return the script of ``prompt``: its own, or that of the scenario whose phrase it has."""
    blocks = _BLOCK.findall(prompt)
    if blocks:
        return parse(blocks[-1])
    for scenario in scenarios():
        if scenario["phrase"].lower() in prompt.lower():
            return list(scenario["steps"])
    return [{"say": f"Nothing is scripted for this prompt of {len(prompt.split())} words."}]


def parse(text: str) -> list[Step]:
    """Parse a script. Raises ScriptError if it is invalid."""
    try:
        steps = json.loads(text)
    except ValueError as error:
        raise ScriptError(f"the script is not JSON: {error}") from error
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ScriptError("the script is not a list of objects")
    known = {
        "say", "say_slowly", "think", "recall", "shell", "tool", "structured", "hang", "error",
        "cut",
    }  # fmt: skip
    for step in steps:
        if not known & step.keys():
            raise ScriptError(f"no such step: {json.dumps(step)}")
    return steps


def part(steps: list[Step], results: Sequence[str], is_call: Callable[[Step], bool]) -> list[Step]:
    """Return the steps of the next response: up to the next tool call, or to the end."""
    left = list(results)
    begin = 0
    for index, step in enumerate(steps):
        if not left:
            break
        if is_call(step):
            begin = index + _took(step, left)
    chosen = []
    for step in steps[begin:]:
        chosen.append(filled_in(step, results))
        if is_call(step):
            break
    return chosen or [{"say": "Done."}]


def recalled(step: Step, conversation: str) -> Step:
    """Replace a recall step with a say step that has the matches in the conversation."""
    if "recall" not in step:
        return step
    found = dict.fromkeys(re.findall(step["recall"], conversation))
    return {"say": " ".join(found) or "Nothing."}


def _took(step: Step, left: list[str]) -> int:
    """Consume the results of ``step`` from ``left``. Return 0 if it must be called again."""
    while left:
        if str(step.get("until", "")) in left.pop(0):
            return 1
    return 0


def filled_in(step: Step, results: Sequence[str]) -> Step:
    """Replace the references to earlier results in a tool step's arguments."""
    if "tool" not in step:
        return step
    return {**step, "arguments": _filled(step.get("arguments", {}), results)}


def _filled(value: Any, results: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(each, results) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, results) for each in value]
    if not isinstance(value, str):
        return value
    if whole := _REFERENCE.fullmatch(value):
        return _told(whole[1], results)
    return _REFERENCE.sub(lambda found: str(_told(found[1], results)), value)


def _told(key: str, results: Sequence[str]) -> Any:
    """Return the value of ``key`` in the newest result that has one, else raise ScriptError."""
    for text in reversed(results):
        # Some agents wrap a result's JSON in a JSON string.
        for plain in (text, text.replace('\\"', '"')):
            if found := list(re.finditer(rf'"{key}":\s*', plain)):
                return json.JSONDecoder().raw_decode(plain, found[-1].end())[0]
    raise ScriptError(f"no result so far has a {key}")


def words(step: Step) -> Iterator[tuple[str, Pause | None]]:
    """Split a step's text into the deltas that are sent, each with the pause after it."""
    if "say" in step:
        yield str(step["say"]), None
        return
    pause = Pause(1 / float(step.get("words_per_second", 5)))
    for index, word in enumerate(str(step["say_slowly"]).split(" ")):
        yield (f" {word}" if index else word), pause


def text_of(step: Step) -> str | None:
    """Return a step's text; None if it has none."""
    for key in ("say", "say_slowly"):
        if key in step:
            return str(step[key])
    return None


@cache
def scenarios() -> list[dict[str, Any]]:
    """Load the scenarios for prompts without a script."""
    file = Path(__file__).with_name("scenarios.json")
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found
