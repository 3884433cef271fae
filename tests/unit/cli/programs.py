"""The command line as a program: of its own, but forked from one that has loaded what it needs."""

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
# Some of it looks at the environment as it is loaded: what a test sets comes too late for that.
SERVER = ForkServer(_LOAD, ROOT / "operator", {"PATH": os.environ["PATH"], "HOME": "/nowhere"})


async def called(*command: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Do what ``python COMMAND`` does, and return what it printed."""
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
