"""
Building the images, and bringing them into the cluster.

One ordinary Dockerfile serves both ways: a Docker engine builds it as it stands, and buildah
builds it without one, on a base made of Debian's packages. Layers are kept between builds, and
an image is only copied into the cluster when it has changed.
"""

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from dev import base_image, cluster, kind, paths
from dev.components import Cluster
from dev.shell import DevError, attempt, run, say, step

TARGETS = ("operator", "mcp-server", "runner", "agent", "dev")
DOCKERFILE = Path("images") / "Dockerfile"
PASSED_ON = ("PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")
TRUST = "/etc/ssl/certs"


def name_of(target: str, tag: str = "dev") -> str:
    """Name the image of a target."""
    return f"localhost/agentrun/{target}:{tag}"


def build(name: str, targets: Sequence[str] = TARGETS, tag: str = "dev") -> None:
    """Build the images, and load into the cluster those that changed."""
    unknown = set(targets) - set(TARGETS)
    if unknown:
        raise DevError(f"{', '.join(sorted(unknown))}: not among {', '.join(TARGETS)}")
    began = time.monotonic()
    builder = _build_with_docker if kind.available() else _build_with_buildah
    for target in targets:
        with step(f"building {name_of(target, tag)}"):
            builder(target, tag)
    load(name, [name_of(target, tag) for target in targets])
    say(f"{len(targets)} images in {time.monotonic() - began:.1f} s")


def load(name: str, images: Sequence[str]) -> None:
    """Copy images that were built on this machine into the cluster, if they changed."""
    if kind.available():
        for image in images:
            kind.load(name, image)
        return
    found = cluster.find(name)
    if found is None:
        say(f"cluster {name} is not there, so the images were loaded nowhere")
        return
    for image in images:
        _load(found, image)


def _build_with_docker(target: str, tag: str) -> None:
    command = ["docker", "build", "--quiet", "-f", DOCKERFILE, "--target", target]
    run([*command, *_arguments(), "-t", name_of(target, tag), "."], cwd=paths.CHECKOUT)


def _build_with_buildah(target: str, tag: str) -> None:
    base = _base()
    options = ["--layers", "--isolation", "chroot", "--network", "host", "--quiet"]
    # A network with an authority of its own is trusted during the build, and not in the image.
    options += ["--volume", f"{TRUST}:{TRUST}:ro", "--build-arg", f"BASE={base}"]
    options += ["--ignorefile", f"{DOCKERFILE}.dockerignore", "--format", "docker"]
    command = [*_buildah(), "bud", *options, *_arguments(), "-f", DOCKERFILE, "--target", target]
    run([*command, "-t", name_of(target, tag), "."], cwd=paths.CHECKOUT)


def _base() -> str:
    archive = base_image.archive()
    name = f"localhost/agentrun/base:{archive.stem}"
    if attempt([*_buildah(), "inspect", "--type", "image", name]).returncode != 0:
        container = run([*_buildah(), "from", "scratch"]).strip()
        run([*_buildah(), "add", container, archive, "/"])
        run([*_buildah(), "config", "--cmd", "python3", container])
        run([*_buildah(), "commit", "--rm", container, name])
    return name


def _load(found: Cluster, image: str) -> None:
    listed = json.loads(run([*_buildah(), "images", "--json", image]))[0]
    identity = f"sha256:{listed['id']}"
    containerd = ["ctr", "--address", found.socket, "--namespace", "k8s.io", "images"]
    mark = found.folder / "images" / re.sub("[/:]", "_", image)
    # The mark says what was imported last under the name, and the list that it is still there.
    marked = mark.read_text(encoding="ascii") if mark.exists() else None
    if marked == identity and image in run([*containerd, "list", "--quiet"]).split():
        say(f"{image} is loaded, {listed['size']}")
        return
    mark.parent.mkdir(exist_ok=True)
    archive = mark.with_suffix(".tar")
    archive.unlink(missing_ok=True)
    with step(f"loading {image}, {listed['size']}"):
        run([*_buildah(), "push", "--quiet", image, f"oci-archive:{archive}:{image}"])
        run([*containerd, "import", archive])
    archive.unlink()
    mark.write_text(identity, encoding="ascii")


def _buildah() -> list[object]:
    # Storage of its own: nobody else's images are in the way, and removing the cache is enough.
    root = paths.cache() / "containers"
    return ["buildah", "--root", root / "root", "--runroot", root / "run"]


def _arguments() -> list[str]:
    passed = [name for name in PASSED_ON if os.environ.get(name)]
    return [word for name in passed for word in ("--build-arg", f"{name}={os.environ[name]}")]
