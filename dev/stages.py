"""
The stages of ``make test``, which run side by side: one is run, or all are summed up.

Each leaves its output in NAME.log below AGENTRUN_RESULTS, and says in one line how it ended; what
a stage that failed has printed is shown whole. A summary is all that is left to read at the end.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from dev import processes
from dev.shell import say

SLOWEST = 10
WEIGHT, WEIGHTS = 8, {"unit": 32, "contract": 32}
"""
The CPU weight of a stage when CPU is scarce; a cluster has 16.

With the weight of an ordinary process, a test that waits for a cluster would starve beside it. The
longest of all stages waits for unit and contract, so they have priority.
"""
_BAD = ("failure", "error")


@dataclass
class Stage:
    """The result of a stage."""

    name: str
    seconds: float
    code: int
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    """The names of the failed tests."""
    skipped: int = 0
    slowest: list[tuple[float, str]] = field(default_factory=list)

    @property
    def counted(self) -> str:
        """The stage's test counts as text; empty without tests."""
        if not (self.passed or self.failed):
            return ""
        return f"{self.passed} passed, {len(self.failed)} failed" + (
            f", {self.skipped} skipped" if self.skipped else ""
        )


def main() -> int:
    """Run a stage, or print the summary."""
    parser = argparse.ArgumentParser(prog="python -m dev.stages", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="action")
    running = commands.add_parser("run", help="run a stage's command")
    running.add_argument("name")
    running.add_argument("command", nargs=argparse.REMAINDER)
    summing = commands.add_parser("sum-up", help="print what stages came to")
    summing.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    # On SIGTERM, exit with cleanup as well.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    folder = Path(os.environ["AGENTRUN_RESULTS"])
    if arguments.action == "run":
        return run(folder, arguments.name, arguments.command)
    return sum_up(folder, arguments.names)


def run(folder: Path, name: str, command: list[str]) -> int:
    """Run a stage's command and return its exit code. Its output is shown if it fails."""
    log, report = folder / f"{name}.log", folder / f"{name}.xml"
    flags = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={report} -o junit_family=xunit1"
    env = {**os.environ, "PYTEST_ADDOPTS": flags.strip(), "PYTHONUNBUFFERED": "1"}
    begin = time.monotonic()
    weighed = processes.weighing(f"agentrun-stage-{name}", WEIGHTS.get(name, WEIGHT))
    with log.open("wb") as output, weighed as enter:
        code = subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=enter,
            check=False,
        ).returncode
    stage = Stage(name, round(time.monotonic() - begin, 1), code)
    if report.exists():
        _read(report, stage)
    (folder / f"{name}.json").write_text(json.dumps(asdict(stage)), encoding="utf-8")
    if code:
        say(f"== {name}: FAILED after {stage.seconds:.0f} s; it printed:")
        say(log.read_text(encoding="utf-8", errors="replace"))
    say(f"== {name}: {'FAILED' if code else 'ok'} after {stage.seconds:.0f} s. {stage.counted}")
    return code


def sum_up(folder: Path, names: list[str]) -> int:
    """Print the results of all stages; the last line has the test counts. Return 1 on failure."""
    stages = {name: _load(folder / f"{name}.json") for name in names}
    say(f"\n{'stage':14} {'seconds':>8}  tests")
    for name, stage in stages.items():
        how = "" if stage and not stage.code else " FAILED" if stage else " NOT RUN"
        say(
            f"{name:14} {stage.seconds if stage else 0:8.0f}  {stage.counted if stage else ''}{how}"
        )
    done = [stage for stage in stages.values() if stage]
    say("\nthe slowest tests")
    for seconds, test in sorted((s for stage in done for s in stage.slowest), reverse=True)[
        :SLOWEST
    ]:
        say(f"{seconds:8.1f} s  {test}")
    failed = [test for stage in done for test in stage.failed]
    # A stage that failed without a failed test, or did not run, counts as one failure.
    failed += [f"stage {n}" for n, s in stages.items() if not s or (s.code and not s.failed)]
    if failed:
        say(f"\nwhat failed; their output is above and in {folder}")
        for test in failed:
            say(f"  {test}")
    say(f"\n{sum(stage.passed for stage in done)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _load(file: Path) -> Stage | None:
    return Stage(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


def _read(report: Path, stage: Stage) -> None:
    """Add the tests of a JUnit report to the stage."""
    times: list[tuple[float, str]] = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('file', case.get('classname', ''))}::{case.get('name')}"
        times.append((float(case.get("time", 0)), name))
        if any(case.find(kind) is not None for kind in _BAD):
            stage.failed.append(name)
        elif case.find("skipped") is not None:
            stage.skipped += 1
        else:
            stage.passed += 1
    stage.slowest = sorted(times, reverse=True)[:SLOWEST]


if __name__ == "__main__":
    sys.exit(main())
