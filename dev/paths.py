"""Where the development tools keep things: never inside the checkout."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
DEV = CHECKOUT / "dev"
MANIFESTS = DEV / "manifests"


def cache() -> Path:
    """Name the folder for what may be built again, but takes long to build."""
    return _folder("AGENTRUN_CACHE", Path.home() / ".cache" / "agentrun")


def state(cluster: str) -> Path:
    """Name the folder that holds all there is of one cluster."""
    return _folder("AGENTRUN_STATE", Path.home() / ".local" / "state" / "agentrun") / cluster


def binaries() -> Path:
    """Name the folder to put on PATH."""
    return cache() / "bin"


def _folder(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable) or default).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
