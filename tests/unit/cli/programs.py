"""The command line as a separate process, forked from one that has loaded its modules."""

import asyncio
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from tests.forked import ForkServer, ended
from tests.waiting import LATE_SECONDS

ROOT = Path(__file__).parents[3]
PROGRAM = ("-m", "agentrun.cli")
_LOAD = """
import agentrun.cli.app, agentrun.cli.connection, mcp, mcp.client.streamable_http
import mcp_types.version
"""
# Some modules read the environment as they are loaded: a test's settings come too late for that.
SERVER = ForkServer(_LOAD, ROOT / "operator", {"PATH": os.environ["PATH"], "HOME": "/nowhere"})


async def called(*command: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run ``python COMMAND`` and return its output and exit code."""
    with TemporaryFile() as out, TemporaryFile() as err:
        async with (
            asyncio.timeout(LATE_SECONDS),
            ended(SERVER.fork(*command, env=env, stdout=out, stderr=err)) as process,
        ):
            code = await process.wait()
        printed = [_whole(file) for file in (out, err)]
    return subprocess.CompletedProcess(command, code, *printed)


def _whole(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
