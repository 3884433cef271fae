"""
Checks a structured answer against the caller's schema, in a separate process.

A regular expression can take practically unlimited time, in which the runner could handle neither
stop signals nor the gateway. So another process checks the answer, with a timeout, after which it
is killed. The schema itself is checked in the same way, before the agent starts.
"""

import asyncio
import json
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from agentrun.api.bounded_json import ANSWER, UnreadableJsonError, read
from agentrun.api.output_schema import check_bounds
from agentrun.runner.answer_text import WHOLE, candidates

SECONDS = 15.0
"""The timeout of a check, in seconds, including the start of its process."""
_MEMORY = 96 * 1024 * 1024
"""
The most memory of a check's process. A pattern may take 200 times the length of the text, and the
kernel would kill the runner, whose container has no more.
"""
_LOOKS_LIKE_JSON = re.compile(r'[\[{]|"(?:[^"\\]++|\\.)*+"\Z|-?\d[\d.eE+-]*\Z', re.DOTALL)


async def check_apart(text: str, schema: dict[str, Any]) -> Any:
    """Return the structured answer in ``text``. Raises ValueError if it is invalid."""
    return await _apart("answer", text, schema)


async def check_schema_apart(schema: dict[str, Any]) -> None:
    """Raise ValueError if no answer can be checked against the schema."""
    await _apart("schema", "", schema)


async def _apart(kind: str, text: str, schema: dict[str, Any]) -> Any:
    tried = os.memfd_create("pattern")
    try:
        # -P: nothing is imported from the current folder.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", __name__, kind, str(tried),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/",
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
            pass_fds=[tried],
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS):
                printed, _ = await process.communicate(json.dumps([text, schema]).encode())
        except TimeoutError as error:
            raise ValueError(_late(tried)) from error
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        verdict, _, answer = printed.partition(b"\n")
        if not verdict and not answer:
            raise ValueError(_crashed(tried))
    finally:
        os.close(tried)
    if verdict:
        raise ValueError(json.loads(verdict))
    return json.loads(answer)


def _late(tried: int) -> str:
    took = f"the check takes more than {SECONDS:.0f} s"
    if pattern := _read(tried):
        return f"{took}: the pattern {pattern} in outputSchema may have nested repetitions"
    return f"{took}: make the answer, or outputSchema, smaller"


def _crashed(tried: int) -> str:
    pattern = _read(tried)
    what = f"the pattern {pattern} in outputSchema simpler" if pattern else "outputSchema smaller"
    return f"the check takes too much memory: make the answer shorter, or {what}"


def _read(tried: int) -> str:
    """Return the pattern that is searched for; empty if none is."""
    return os.pread(tried, 1024, 0).decode(errors="replace")


def check_answer(text: str, schema: dict[str, Any]) -> Any:
    """
    Return the most likely answer in ``text`` that satisfies the schema.

    Raises ValueError if there is none; the message is about the most likely answer.
    """
    validator, problem = _validator(schema), ""
    for value in _values(text):
        violation = str(value) if isinstance(value, UnreadableJsonError) else validator(value)
        if not violation:
            return value
        problem = problem or violation
    raise ValueError(problem or "it contains no JSON")


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a message, and the errors of what looks like one."""
    for place, candidate in enumerate(candidates(text)):
        try:
            value = read(candidate, "the answer", ANSWER)
        except UnreadableJsonError as error:
            if _LOOKS_LIKE_JSON.match(candidate):
                yield error
            continue
        yield value
        if place < WHOLE:
            return


def _validator(schema: dict[str, Any]) -> Callable[[Any], str]:
    """Return a function that says how a value violates the schema."""
    # Few runs have a schema, and the library takes memory.
    from jsonschema import ValidationError
    from jsonschema.exceptions import UnknownType
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An empty registry: a schema's references must not make the runner fetch anything.
    validator = validator_for(schema)(schema, registry=Registry())

    def violation(value: Any) -> str:
        try:
            validator.validate(value)
        except ValidationError as error:
            return f"at {error.json_path}: {error.message[:500]}"
        except (Unresolvable, UnknownType) as error:
            raise ValueError(f"outputSchema cannot be applied: {error}") from error
        return ""

    return violation


def _check_schema(_: str, schema: dict[str, Any]) -> None:
    from agentrun.json_schema import check_schema

    check_bounds(schema)
    check_schema(schema)


_CHECKS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "answer": check_answer, "schema": _check_schema,
}  # fmt: skip


def _verdict(kind: str, text: str, schema: dict[str, Any]) -> str:
    """Return the error of an answer, in one line; otherwise an empty line and the answer."""
    try:
        return "\n" + json.dumps(_CHECKS[kind](text, schema))
    except RecursionError:
        return json.dumps("outputSchema refers to itself without an end")
    except ValueError as error:
        return json.dumps(str(error))


def main() -> None:
    """Read text and schema, and print the verdict."""
    # In case the runner is gone and cannot kill this process.
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from agentrun import ecma

    kind, tried = sys.argv[1:]
    ecma.use(int(tried))
    text, schema = json.load(sys.stdin)
    sys.stdout.write(_verdict(kind, text, schema))


if __name__ == "__main__":
    main()
