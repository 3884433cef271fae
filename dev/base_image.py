"""A base image out of Debian's packages, where there is no registry to pull the usual one from."""

import hashlib
from pathlib import Path

from dev import paths
from dev.shell import run, step

PACKAGES = "python3,python3-venv,ca-certificates"
OPTIONS = (
    "--variant=minbase",
    f"--include={PACKAGES}",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    # What a build writes below these comes back empty.
    "--customize-hook=rm -rf $1/var/cache/* $1/var/log/*",
)


def archive() -> Path:
    """Make the root file system of the base image, once for each choice of packages."""
    key = hashlib.sha256("\n".join(OPTIONS).encode()).hexdigest()[:12]
    file = paths.cache() / "base" / f"bookworm-{key}.tar"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.tar")
        with step("making the base image from Debian packages"):
            run(["mmdebstrap", *OPTIONS, "bookworm", part])
        part.rename(file)
    return file
