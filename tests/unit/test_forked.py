"""A forked program is like a new one, and nothing of it outlives the tests."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.forked import ForkServer, Process, ended
from tests.waiting import LATE_SECONDS

ROOT = Path(__file__).parents[2]
SERVER = ForkServer("import json, signal, threading", ROOT / "operator")
LOOK = """
import json, os, signal, sys, threading
def word(handler):
    return getattr(handler, "name", None) or getattr(handler, "__name__", None)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "name": __name__, "arguments": sys.argv, "folder": os.getcwd(), "main": sys.modules["__main__"].__dict__ is globals(),
    "environment": {**os.environ}, "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "open": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "signals": {one.name: word(signal.getsignal(one)) for one in signal.Signals},
    "masks": [status[key].strip() for key in ("SigBlk", "SigIgn", "SigCgt")],
    "threads": threading.active_count(), "umask": os.umask(0), "buffered": sys.stdout.line_buffering,
    "input": sys.stdin.read(), "encoding": sys.stdout.encoding, "limits": open("/proc/self/limits").read(),
}))
sys.exit(7)
"""  # noqa: E501 - it is a program


async def looked(tmp_path: Path, name: str, *, is_new: bool) -> dict[str, Any]:
    command = ("-c", LOOK, "an argument", "another")
    env = {"PATH": os.environ["PATH"], "ONLY": "this", "LC_CTYPE": "C.UTF-8"}
    (tmp_path / "input").write_text("what it is told")
    with (tmp_path / name).open("wb") as output, (tmp_path / "input").open("rb") as given:
        process: Process
        if is_new:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, env=env, start_new_session=True,
                stdin=given, stdout=output, stderr=output,
            )  # fmt: skip
        else:
            process = await SERVER.fork(
                *command, env=env, stdin=given, stdout=output, stderr=output
            )
        assert await process.wait() == 7, (tmp_path / name).read_text()
    found: dict[str, Any] = json.loads((tmp_path / name).read_text())
    return found


async def test_a_forked_program_has_the_environment_of_a_new_process(tmp_path: Path) -> None:
    assert await looked(tmp_path, "forked", is_new=False) == await looked(
        tmp_path, "new", is_new=True
    )


@pytest.mark.parametrize(
    ("program", "code"),
    [
        pytest.param("import sys; sys.exit('no')", 1, id="words"),
        pytest.param("1 / 0", 1, id="error"),
        pytest.param("import os; os.abort()", -signal.SIGABRT, id="signal"),
        pytest.param("pass", 0, id="end"),
    ],
)
async def test_its_end_is_reported(tmp_path: Path, program: str, code: int) -> None:
    env = {"PATH": os.environ["PATH"]}
    with (tmp_path / "output").open("wb") as output:
        process = await SERVER.fork("-c", program, env=env, stdout=output, stderr=output)
        assert await process.wait() == process.returncode == code


async def test_it_can_be_stopped(tmp_path: Path) -> None:
    # A signal that comes just before one long pause would not end it.
    program = "import time; print('ready', flush=True)\nwhile True: time.sleep(0.01)"
    with (tmp_path / "output").open("wb") as output:
        starting = SERVER.fork("-c", program, env={}, stdout=output, stderr=output)
        async with asyncio.timeout(LATE_SECONDS), ended(starting) as process:
            while not (tmp_path / "output").stat().st_size:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # Looks again: a file tells nobody.
            process.send_signal(signal.SIGINT)
            assert await process.wait() == -signal.SIGINT


PYTEST = """
import asyncio, os, sys
from pathlib import Path
from tests.forked import ForkServer
async def main():
    server = ForkServer("", Path("/"))
    program = "import time; print('ready', flush=True); time.sleep(600)"
    await (await server.fork("-c", program, env={}, stdout=1, stderr=2)).wait()
asyncio.run(main())
"""


def test_it_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PYTEST], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "ready\n"
        finally:
            started.kill()
        # The pipe ends with the last that holds it.
        assert started.stdout.read() == ""
