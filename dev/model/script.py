"""Deciding what to play: from the newest prompt, and the results it brought so far."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Step = dict[str, Any]

_BLOCK = re.compile(r"```script\s*\n(.*?)```", re.DOTALL)
# What agents put into the conversation as if their user had said it.
_NOT_FROM_THE_USER = ("<", "# AGENTS.md", "[Request interrupted", "Caveat:", "Tool loaded.")
_REFERENCE = re.compile(r"\{\{(\w+)\}\}")
PAUSE = "python3 -c 'import time; time.sleep(1)'"
"""What the model has the agent do while it waits for something."""


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    name: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Data:
    """One server-sent event without a name, as it is written."""

    text: str


@dataclass(frozen=True)
class Pause:
    """Nothing is sent for a while."""

    seconds: float


class Cut:
    """The connection ends in the middle of the stream."""


Playable = Event | Data | Pause | Cut


class ScriptError(ValueError):
    """A script that cannot be played; the model answers with the reason."""


def is_prompt(text: str) -> bool:
    """Tell a prompt from what the agent adds by itself."""
    return bool(text.strip()) and not text.lstrip().startswith(_NOT_FROM_THE_USER)


def steps_of(prompt: str) -> list[Step]:
    """Find the script of ``prompt``: its own, or that of the scenario it names."""
    blocks = _BLOCK.findall(prompt)
    if blocks:
        return parse(blocks[-1])
    for scenario in scenarios():
        if scenario["phrase"].lower() in prompt.lower():
            return list(scenario["steps"])
    return [{"say": f"Nothing is scripted for this prompt of {len(prompt.split())} words."}]


def parse(text: str) -> list[Step]:
    """Read a script."""
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
    """Choose the steps of the next answer: up to the next tool call, or to the end."""
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
    """Have a recall step say what the agent has sent of the conversation that it looks for."""
    if "recall" not in step:
        return step
    found = dict.fromkeys(re.findall(step["recall"], conversation))
    return {"say": " ".join(found) or "Nothing."}


def _took(step: Step, left: list[str]) -> int:
    """Take the results of ``step`` from what is left; 0 if it is to be called again."""
    while left:
        if str(step.get("until", "")) in left.pop(0):
            return 1
    return 0


def filled_in(step: Step, results: Sequence[str]) -> Step:
    """Put what earlier results said into a tool step's arguments."""
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
    """Find the value of ``key`` in the newest result that has one."""
    for text in reversed(results):
        # Some agents wrap a result's JSON into a string of another JSON.
        for plain in (text, text.replace('\\"', '"')):
            if found := list(re.finditer(rf'"{key}":\s*', plain)):
                return json.JSONDecoder().raw_decode(plain, found[-1].end())[0]
    raise ScriptError(f"no result so far has a {key}")


def words(step: Step) -> Iterator[tuple[str, Pause | None]]:
    """Split what a step says into what is sent at once."""
    if "say" in step:
        yield str(step["say"]), None
        return
    pause = Pause(1 / float(step.get("words_per_second", 5)))
    for index, word in enumerate(str(step["say_slowly"]).split(" ")):
        yield (f" {word}" if index else word), pause


def text_of(step: Step) -> str | None:
    """Return what a step says, if it says anything."""
    for key in ("say", "say_slowly"):
        if key in step:
            return str(step[key])
    return None


@cache
def scenarios() -> list[dict[str, Any]]:
    """Read the scenarios of prompts without a script."""
    file = Path(__file__).with_name("scenarios.json")
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found
