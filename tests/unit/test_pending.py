"""What the tasks that are not done wait for."""

import asyncio
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests import pending


async def _inner(event: asyncio.Event) -> None:
    await event.wait()


async def _outer(event: asyncio.Event) -> None:
    await _inner(event)


async def test_it_reports_where_each_task_waits() -> None:
    event = asyncio.Event()
    task = asyncio.create_task(_outer(event), name="the-one-that-hangs")
    await asyncio.sleep(0)
    said = pending.tasks()
    event.set()
    await task
    at = said.index("the-one-that-hangs")
    assert said.index("in _outer", at) < said.index("in _inner", at) < said.index("in wait", at)


def test_a_test_that_hangs_shows_its_tasks(tmp_path: Path) -> None:
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text(
        dedent("""
            import asyncio, pytest

            @pytest.mark.timeout(1)
            async def test_it():
                await asyncio.create_task(asyncio.Event().wait(), name="hangs")
        """)
    )
    options = ["--rootdir", str(tmp_path), "-p", "tests.conftest", "-o", "asyncio_mode=auto"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", *options, str(hanging)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    told = ran.stdout.split("the tasks that were not done")
    assert len(told) == 2, ran.stdout
    assert "hangs:" in told[1]
    assert "in wait" in told[1]
