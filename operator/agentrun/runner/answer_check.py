"""
Checking a structured answer against the caller's schema, in a process of its own.

A pattern can take longer than the universe lasts, and nothing in the runner would be heard
meanwhile: neither the word to stop nor the gateway. So another process reads the answer, with a
limit of time, and is killed beyond it.
"""

import asyncio
import json
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from agentrun.runner.acp.reading import MAX_DEPTH, is_deep

SECONDS = 15.0
"""How long a check may take, with the start of its process."""
_DEEP = f"it is more than {MAX_DEPTH} levels deep"


async def check_apart(text: str, schema: dict[str, Any]) -> Any:
    """Return the structured answer in ``text``. ValueError says why it does not satisfy."""
    # -P: nothing is loaded from the folder in which it happens to run.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd="/",
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            printed, _ = await process.communicate(json.dumps([text, schema]).encode())
    except TimeoutError as error:
        raise ValueError(
            f"to check it takes more than {SECONDS:.0f} s: does a pattern in outputSchema repeat"
            " something that is repeated already?"
        ) from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    verdict, _, answer = printed.partition(b"\n")
    if verdict:
        raise ValueError(json.loads(verdict))
    if not answer:
        raise ValueError("it could not be checked: that takes more than the runner has")
    if is_deep(answer):
        raise ValueError(_DEEP)
    return json.loads(answer)


def _verdict(text: str, schema: dict[str, Any]) -> str:
    """Say on one line what is wrong with an answer; else, after an empty one, the answer."""
    from agentrun.runner.prompt import check_answer

    try:
        return "\n" + json.dumps(check_answer(text, schema))
    except RecursionError:
        return json.dumps(_DEEP)
    except ValueError as error:
        return json.dumps(str(error))


def main() -> None:
    """Read text and schema, and print the verdict."""
    # Should nobody be left to end it.
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
    from agentrun import ecma

    ecma.use()
    text, schema = json.load(sys.stdin)
    sys.stdout.write(_verdict(text, schema))


if __name__ == "__main__":
    main()
