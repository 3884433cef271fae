"""
Checks callers' output schemas without blocking the event loop.

Small schemas are checked immediately. Others may take seconds of CPU time: they are checked in a
subprocess, with a timeout and limited concurrency.
"""

import asyncio
import json
import logging
import os
import sys
from typing import Any

from agentrun.api.output_schema import count_subschemas
from agentrun.json_schema import check_schema
from mcp_server.schemas.arguments import InvalidArgumentsError

SMALL = 8
"""The number of subschemas up to which a schema is small: each takes some milliseconds."""
AT_ONCE = 2
WAITING = 16
SECONDS = 30.0

log = logging.getLogger(__name__)

_INVALID = "output_schema is not a valid JSON Schema"


class SchemaChecks:
    """Checks schemas; at most two that are not small concurrently."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asked = 0

    async def check(self, schema: dict[str, Any]) -> None:
        """
        Raise InvalidArgumentsError if a schema is invalid or cannot be checked now.

        The schema must be within the limits of ``agentrun.api.output_schema``.
        """
        text = json.dumps(schema)
        # The time that a pattern takes is unknown.
        if count_subschemas(schema) <= SMALL and '"pattern' not in text:
            _check_here(schema)
            return
        if self._asked >= AT_ONCE + WAITING:
            raise InvalidArgumentsError(
                "output_schema cannot be checked at the moment: too many checks are in progress."
                " Try again in a few seconds."
            )
        self._asked += 1
        try:
            async with self._turns:
                problem = await self._elsewhere(text.encode())
        finally:
            self._asked -= 1
        if problem:
            raise InvalidArgumentsError(f"{_INVALID}: {problem}")

    async def _elsewhere(self, schema: bytes) -> str:
        """Check a schema in a subprocess; return the error, empty if it is valid."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mcp_server.runs.schema_worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._seconds):
                printed, complaint = await process.communicate(schema)
        except TimeoutError as error:
            raise InvalidArgumentsError(
                f"output_schema could not be checked within {self._seconds:.0f} s: make it smaller."
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            # A pattern may be nested so deep that the process crashes.
            log.error(
                "The check of a schema failed (%s): %s", process.returncode, complaint[-2000:]
            )
            raise InvalidArgumentsError(
                "output_schema could not be checked: the check failed. Make it, or its patterns,"
                " simpler."
            )
        return printed.decode(errors="replace")


def _check_here(schema: dict[str, Any]) -> None:
    try:
        check_schema(schema)
    except ValueError as error:
        raise InvalidArgumentsError(f"{_INVALID}: {error}") from error
