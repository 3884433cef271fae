"""The init process of the agents' containers, built on this machine for tests of it alone."""

import hashlib
from pathlib import Path

from dev import paths, tools
from dev.shell import run

SOURCE = paths.CHECKOUT / "images" / "init"


def program() -> Path:
    """Build the program as the image does, once per version of its source. Return its path."""
    digest = hashlib.sha256()
    for file in sorted(SOURCE.iterdir()):
        digest.update(file.read_bytes())
    binary = paths.cache() / "tools" / f"init-{digest.hexdigest()[:16]}" / "init"
    if not binary.exists():
        tools.install_packages(tools.COMPILER)
        with tools.alone("build-init"):
            part = binary.with_suffix(".part")
            run([SOURCE / "build", part])
            part.rename(binary)
    return binary
