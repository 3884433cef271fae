"""A base image from Debian packages, for machines without access to a registry."""

import hashlib
from pathlib import Path

from dev import paths
from dev.shell import run, step

PACKAGES = "python3,python3-venv,ca-certificates"
OPTIONS = (
    "--variant=minbase",
    f"--include={PACKAGES}",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    # Whatever a build writes below these folders is removed.
    "--customize-hook=rm -rf $1/var/cache/* $1/var/log/*",
)


def archive() -> Path:
    """Build the root file system of the base image, once per set of options. Return its archive."""
    key = hashlib.sha256("\n".join(OPTIONS).encode()).hexdigest()[:12]
    file = paths.cache() / "base" / f"bookworm-{key}.tar"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.tar")
        with step("making the base image from Debian packages"):
            run(["mmdebstrap", *OPTIONS, "bookworm", part])
        part.rename(file)
    return file
