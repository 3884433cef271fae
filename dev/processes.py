"""
The cluster's processes: started in the background, found again, and reliably stopped.

A pid alone does not identify a process, because it may have been reused. So each record includes
the start time from the kernel, and a process is signalled only if that still matches. Processes
that were not started here directly (containers and their shims) are found by the cluster's
control group.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.shell import wait_until

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
# CPU weights, relative to 1: of a cluster among the machine's processes, and of its API server,
# kubelet and the like beside its pods, to which the kubelet gives two, one for each core.
_CLUSTER, _NODE = int(os.environ.get("AGENTRUN_CLUSTER_WEIGHT", "8")), 3
# Nearly all of them are written in Go, and memory is not scarce.
_ENVIRONMENT = {"GOGC": "400"}


@dataclass(frozen=True)
class Process:
    """A process, identified by its pid and start time."""

    pid: int
    started: int
    """In clock ticks since the machine's boot."""


def boot_id() -> str:
    """Return the id of the machine's current boot. Records of another boot are invalid."""
    return (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def parse_started(stat: str) -> int | None:
    """Parse the start time in ``/proc/PID/stat``; None for a zombie, which counts as gone."""
    # The second field is the program's name, which may contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def started(pid: int) -> int | None:
    """Return the start time of ``pid``; None if there is no such process."""
    try:
        return parse_started((PROC / str(pid) / "stat").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def load(record: Path) -> Process | None:
    """Return the recorded process; None if it no longer exists."""
    try:
        process = Process(**json.loads(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return process if started(process.pid) == process.started else None


def start(command: Sequence[object], record: Path, log: Path, cgroup: str, netns: str) -> None:
    """Start ``command`` in the background, in its network namespace and control group."""
    # A shell first moves itself into the groups, so that no child starts outside of them. nsenter,
    # because `ip netns exec` mounts a new /sys, in which the kubelet finds no control groups.
    enter = 'for group in $0; do echo $$ > "$group"; done; exec nsenter --net="$1" -- "${@:2}"'
    groups = [folder / "node" / "cgroup.procs" for folder in (tracked(cgroup), weighed(cgroup))]
    joined = [" ".join(map(str, dict.fromkeys(groups))), netns, *map(str, command)]
    with log.open("ab") as output:
        child = subprocess.Popen(
            ["bash", "-c", enter, *joined],
            env={**os.environ, **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    began = started(child.pid)
    if began is not None:
        process = Process(child.pid, began)
        record.write_text(json.dumps(asdict(process)), encoding="utf-8")


def stop(record: Path, seconds: float = 6) -> None:
    """Stop the recorded process: SIGTERM, and SIGKILL after ``seconds``. Wait for its exit."""
    process = load(record)
    if process is not None:
        _signal(process, signal.SIGTERM)
        end = time.monotonic() + seconds
        while load(record) is not None and time.monotonic() < end:
            time.sleep(0.02)
        kill([process])
    record.unlink(missing_ok=True)


def kill(processes: Iterable[Process]) -> None:
    """Kill ``processes`` and wait until all have exited."""
    for process in (left := list(processes)):
        _signal(process, signal.SIGKILL)
    wait_until(
        "killed processes are gone",
        lambda: all(started(process.pid) != process.started for process in left),
    )


def hierarchies() -> list[Path]:
    """Return the roots of the machine's control groups: one with cgroup v2, several with v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted(folder for folder in CGROUPS.iterdir() if not folder.is_symlink())


def tracked(cgroup: str) -> Path:
    """Return the folder of ``cgroup`` that lists its processes."""
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "pids"
    return root / cgroup


def weighed(cgroup: str) -> Path:
    """Return the folder of ``cgroup`` that sets its CPU weight."""
    root = CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "cpu"
    return root / cgroup


def make_cgroup(cgroup: str) -> None:
    """
    Create ``cgroup`` in every hierarchy, as the kubelet requires of its cgroup root.

    Without a weight of its own, the whole cluster would get as much of a busy CPU as a single
    process beside it, and all of its pods together no more than one process.
    """
    for root in hierarchies():
        (root / cgroup).mkdir(exist_ok=True)
    for folder, weight in ((weighed(cgroup), _CLUSTER), (weighed(cgroup) / "node", _NODE)):
        folder.mkdir(exist_ok=True)
        _weigh(folder, weight)
    (tracked(cgroup) / "node").mkdir(exist_ok=True)


@contextlib.contextmanager
def weighing(group: str, weight: int) -> Iterator[Callable[[], None]]:
    """
    Yield a function that moves a new process into a group of that weight; clusters weigh eight.

    Processes that are left in the group at the end are killed.
    """
    folder = weighed(group)
    folder.mkdir(exist_ok=True)
    _weigh(folder, weight)
    try:
        yield lambda: _enter(folder)
    finally:
        _end_all(folder)
        wait_until(f"{folder} is empty", lambda: _removed(folder))


def _enter(folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _weigh(folder: Path, weight: int) -> None:
    """Set a group's weight as a multiple of an ordinary process, in its hierarchy's unit."""
    for name, unit in (("cpu.shares", 1024), ("cpu.weight", 100)):
        file = folder / name
        if file.exists():
            file.write_text(str(weight * unit), encoding="ascii")


def members(cgroup: str) -> list[Process]:
    """Return all processes in ``cgroup``, including those that were not started here."""
    return _inside(tracked(cgroup))


def _inside(folder: Path) -> list[Process]:
    found = []
    for file in folder.rglob("cgroup.procs"):
        for pid in map(int, _lines(file)):
            began = started(pid)
            if began is not None:
                found.append(Process(pid, began))
    return found


def remove_cgroup(cgroup: str) -> None:
    """Kill the remaining processes in ``cgroup``, and remove it."""
    _end_all(tracked(cgroup))
    for root in hierarchies():
        for folder, _, _ in os.walk(root / cgroup, topdown=False):
            # The kernel releases a group a moment after its last process has exited.
            wait_until(f"{folder} is empty", lambda folder=folder: _removed(Path(folder)))  # type: ignore[misc]


def _end_all(folder: Path) -> None:
    # Repeated, because a process may start another one in between.
    while left := _inside(folder):
        kill(left)


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        # The group was removed during the read.
        return []


def _signal(process: Process, number: signal.Signals) -> None:
    if started(process.pid) == process.started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
