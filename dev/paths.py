"""The folders of the development tools, all outside the checkout."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DEV = CHECKOUT / "dev"
MANIFESTS = DEV / "manifests"


def cache() -> Path:
    """Return the folder for files that can be rebuilt, but take long to build."""
    return _folder("AGENTRUN_CACHE", Path.home() / ".cache" / "agentrun")


def state(cluster: str) -> Path:
    """Return the folder with all files of a cluster."""
    return _folder("AGENTRUN_STATE", Path.home() / ".local" / "state" / "agentrun") / cluster


def binaries() -> Path:
    """Return the folder to add to PATH."""
    return cache() / "bin"


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
