"""
The images of all clusters, unpacked once.

A cluster's containerd unpacks what it is given: gigabytes for each cluster, written each time, and
kept in memory twice. Here a containerd of the cache's own has done so, and a new cluster begins
with links to its files. Nobody writes to them: containerd adds files and removes them, and what a
container writes goes to a layer of its own. Only the databases, which are changed in place, are
copied.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import oci, paths, tools
from dev.shell import attempt, run, say, step, wait_until

_DATABASES = "*/*.db"
# It serves nobody but the commands here: no pods, and so no network and no sandbox image.
_CONFIGURATION = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
"""


def _folder() -> Path:
    return paths.cache() / "unpacked"


@contextmanager
def containerd() -> Iterator[list[object]]:
    """Run the cache's containerd, and give the beginning of commands to it."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "containerd.toml"
    configuration.write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
    ctr = oci.ctr(folder / "containerd.sock")
    # What it mounts for a moment ends with it.
    command = ["unshare", "--mount", "containerd", "--config", configuration]
    with (folder / "containerd.log").open("wb") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
    try:
        wait_until("containerd works", lambda: attempt([*ctr, "version"]).returncode == 0)
        yield ctr
    finally:
        process.terminate()
        process.wait(30)


def seed(root: Path) -> None:
    """Begin a containerd's ``root`` with what is unpacked; leave one that is there alone."""
    unpacked = _folder() / "root"
    if root.exists() or not unpacked.exists():
        return
    incoming = root.with_name(f"{root.name}-incoming")
    with tools.alone("unpacked"), step("linking the images that are unpacked"):
        done = attempt(["cp", "--archive", "--link", unpacked, incoming])
        for database in incoming.glob(_DATABASES):
            database.unlink()
            shutil.copy2(unpacked / database.relative_to(incoming), database)
    if done.returncode == 0:
        incoming.rename(root)
        return
    # Another file system: it unpacks them itself.
    say(done.stderr.strip().splitlines()[-1])
    run(["rm", "-rf", incoming])
