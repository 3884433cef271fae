"""
Checks a structured answer against the caller's schema, in a separate process.

A regular expression can take practically unlimited time, in which the runner could handle neither
stop signals nor the gateway. So another process checks the answer, with a timeout, after which it
is killed.
"""

import asyncio
import json
import os
import resource
import sys
from contextlib import suppress
from typing import Any

from agentrun.runner.untrusted_json import MAX_DEPTH, is_deep

SECONDS = 15.0
"""The timeout of a check, in seconds, including the start of its process."""
_DEEP = f"it is more than {MAX_DEPTH} levels deep"


async def check_apart(text: str, schema: dict[str, Any]) -> Any:
    """Return the structured answer in ``text``. Raises ValueError if it is invalid."""
    # -P: nothing is imported from the current folder.
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
            f"the check takes more than {SECONDS:.0f} s: a pattern in outputSchema may have nested"
            " repetitions"
        ) from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    verdict, _, answer = printed.partition(b"\n")
    if verdict:
        raise ValueError(json.loads(verdict))
    if not answer:
        raise ValueError("it could not be checked: the check exceeds the runner's resources")
    if is_deep(answer):
        raise ValueError(_DEEP)
    return json.loads(answer)


def _verdict(text: str, schema: dict[str, Any]) -> str:
    """Return the error of an answer, in one line; otherwise an empty line and the answer."""
    from agentrun.runner.prompt import check_answer

    try:
        return "\n" + json.dumps(check_answer(text, schema))
    except RecursionError:
        return json.dumps(_DEEP)
    except ValueError as error:
        return json.dumps(str(error))


def main() -> None:
    """Read text and schema, and print the verdict."""
    # In case the runner is gone and cannot kill this process.
    resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS), int(SECONDS)))
    from agentrun import ecma

    ecma.use()
    text, schema = json.load(sys.stdin)
    sys.stdout.write(_verdict(text, schema))


if __name__ == "__main__":
    main()
