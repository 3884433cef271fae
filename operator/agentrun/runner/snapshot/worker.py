"""
The subprocess that packs and unpacks snapshots.

It has no access to the runner's credentials. It imports only the standard library and modules that
do too, so that it takes little time and memory.
"""

import fnmatch
import json
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agentrun.backends import backend_of
from agentrun.runner.folders import Folder
from agentrun.runner.snapshot.pack import (
    Packer,
    SnapshotTooLargeError,
    Source,
    UnpackableFileError,
    size_of,
)
from agentrun.runner.snapshot.unpack import Target, UnsafeArchiveError, unpack

HOME, WORKSPACE, REPOSITORY = "home", "workspace", "repository"
"""The names of the archive's folders."""
REPOSITORY_FILES = ("objects", "refs", "packed-refs", "shallow")
_WRITTEN_BY_THE_RUNNER = frozenset({".gitconfig"})
_CACHES = frozenset({".cache", ".npm", ".cargo", ".rustup", ".gradle", ".m2", "node_modules"})
"""Caches in an unknown agent's home, which any pod can recreate."""


def pack(job: Mapping[str, Any]) -> dict[str, Any]:
    """Pack what ``job`` names, and return the archive's parts."""
    packer = Packer(Path(job["folder"]), job["limit"], job["part_bytes"])
    with ExitStack() as stack:
        opened = {
            name: stack.enter_context(Folder.at(Path(path)))
            for name, path in job["sources"].items()
        }
        try:
            parts = packer.pack(_sources(opened, job["backend"]))
        except SnapshotTooLargeError:
            sizes = {one.name: size_of(one) for one in _sources(opened, job["backend"])}
            return {"too_large": sizes}
    return {"parts": [asdict(one) for one in parts], "left_out": packer.left_out}


def take_out(job: Mapping[str, Any]) -> dict[str, Any]:
    """Unpack the parts that ``job`` names into its targets."""
    with ExitStack() as stack:
        targets = {
            name: Target(stack.enter_context(Folder.at(Path(path), make=True)), outer_links)
            for name, (path, outer_links) in job["targets"].items()
        }
        unpack([Path(one) for one in job["parts"]], targets)
        if job["session_id"]:
            backend_of(job["backend"]).after_restore(targets[HOME].folder, job["session_id"])
    return {}


def _sources(opened: Mapping[str, Folder], backend: str) -> Iterator[Source]:
    patterns = backend_of(backend).conversation_files
    for name, folder in opened.items():
        if name == HOME:
            yield Source(name, folder, conversation_files(patterns, folder))
        elif name == REPOSITORY:
            there = folder.names()
            yield Source(name, folder, [one for one in REPOSITORY_FILES if one in there])
        else:
            yield Source(name, folder, folder.names())


def conversation_files(patterns: Sequence[str] | None, home: Folder) -> Iterator[str]:
    """
    Yield the files and folders of ``home`` to store; folders include everything below them.

    ``patterns`` are those of ``Backend.conversation_files``.
    """
    if patterns is None:
        left_out = _CACHES | _WRITTEN_BY_THE_RUNNER
        yield from (name for name in home.names() if name not in left_out)
        return
    for pattern in patterns:
        above, _, last = pattern.rpartition("/")
        try:
            with home.folder(above) as folder:
                names = fnmatch.filter(folder.names(), last)
        except OSError:
            continue  # missing, or behind a link, which leads elsewhere
        yield from (f"{above}/{name}" if above else name for name in names)


def main() -> None:
    """Execute the job on standard input, and write the result to standard output: both JSON."""
    job = json.load(sys.stdin)
    try:
        answer = {"pack": pack, "unpack": take_out}[job["do"]](job)
    except (
        UnpackableFileError,
        UnsafeArchiveError,
        OSError,
        EOFError,
        ValueError,
        tarfile.TarError,
        zlib.error,
    ) as error:
        answer = {"failed": str(error) or type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
