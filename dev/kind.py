"""
The cluster on a machine with a Docker engine: kind, at the same Kubernetes version.

All later steps use kubectl and are shared with the native cluster.
"""

import shutil

from dev import paths, tools
from dev.shell import attempt, run, step

NODE_IMAGE = f"kindest/node:v{tools.KUBERNETES}"


def available() -> bool:
    """Return whether a Docker engine responds."""
    return bool(shutil.which("docker")) and attempt(["docker", "info"]).returncode == 0


def exists(name: str) -> bool:
    """Return whether the cluster exists."""
    return name in run([_kind(), "get", "clusters"]).split()


def up(name: str) -> None:
    """Create the cluster unless it exists, and write its kubeconfig."""
    tools.build((*tools.CLIENTS, tools.KIND))
    folder = paths.state(name)
    folder.mkdir(parents=True, exist_ok=True)
    if not exists(name):
        config = paths.CHECKOUT / "kind-config.yaml"
        options = ["--config", config, "--image", NODE_IMAGE, "--wait", "120s"]
        with step(f"creating {name} with kind"):
            # Paths in the configuration are relative to the checkout.
            run([_kind(), "create", "cluster", "--name", name, *options], cwd=paths.CHECKOUT)
    run([_kind(), "export", "kubeconfig", "--name", name, "--kubeconfig", folder / "kubeconfig"])


def down(name: str) -> None:
    """Delete the cluster if it exists, and its state."""
    tools.build((tools.KIND,))
    if exists(name):
        with step(f"deleting {name} with kind"):
            run([_kind(), "delete", "cluster", "--name", name])
    shutil.rmtree(paths.state(name), ignore_errors=True)


def load(name: str, image: str) -> None:
    """Load an image of the Docker engine into the cluster's node."""
    run([_kind(), "load", "docker-image", "--name", name, image])


def _kind() -> str:
    return str(paths.binaries() / "kind")
