"""
The images of all clusters, unpacked once.

Each cluster's containerd would unpack its images: gigabytes for each cluster, written each time,
and cached in memory twice. Instead, a separate containerd unpacks them into the cache, and a new
cluster starts with hard links to its files. The files are never modified: containerd adds and
removes files, and a container writes to a layer of its own. Only the databases, which are changed
in place, are copied.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev import oci, paths, tools
from dev.shell import attempt, run, say, step, wait_until

_DATABASES = "*/*.db"
# It only serves the commands here, not pods, so it needs no network and no sandbox image.
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
    """Run the cache's containerd, and yield the beginning of ctr commands for it."""
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "containerd.toml"
    configuration.write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
    ctr = oci.ctr(folder / "containerd.sock")
    # Its temporary mounts end with the mount namespace.
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
    """Initialize a containerd's ``root`` with the unpacked images, unless it exists."""
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
    # On another file system links are not possible: containerd unpacks the images itself.
    say(done.stderr.strip().splitlines()[-1])
    run(["rm", "-rf", incoming])
