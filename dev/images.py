"""
Building the images and loading them into the cluster.

The same Dockerfile works with and without a Docker engine: without one, buildah builds it on a
base image of Debian packages. Layers are cached between builds, and an image is copied into the
cluster only if it has changed.
"""

import hashlib
import json
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dev import cluster, kind, oci, paths, tools, unpacked
from dev.shell import DevError, attempt, run, say, step

TARGETS = ("operator", "mcp-server", "runner", "agent", "dev")
"""The targets that are built by default."""
ALL = (*TARGETS, "agent-more", "agent-other", "stores")
DOCKERFILE = Path("images") / "Dockerfile"
LABEL = "dev.agentrun.inputs"
SOURCE = ("pyproject.toml", "README.md", "LICENSE", "crds/*", "operator/**/*", "mcp_server/**/*")
# The files that the Dockerfile copies, by target.
INPUTS = {
    "all": ("images/*",),
    "operator": (*SOURCE, "requirements-operator.txt"),
    "mcp-server": (*SOURCE, "requirements-server.txt"),
    "runner": (*SOURCE, "requirements-runner.txt", "images/init/*"),
    "agent": ("images/agent/*",),
    "agent-more": ("images/agent-more/*",),
    "agent-other": ("images/agent-other/*",),
    "stores": ("images/stores/*", "dev/stores/*"),
    "dev": (
        "images/dev/*",
        "dev/__init__.py",
        "dev/a2a/*",
        "dev/agent/*",
        "dev/git/*",
        "dev/model/*",
    ),
}
_MMDEBSTRAP_OPTIONS = (
    "--variant=minbase",
    "--include=python3,python3-venv,ca-certificates",
    *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale")),
    # Whatever a build writes below these folders is removed.
    "--customize-hook=rm -rf $1/var/cache/* $1/var/log/*",
)
TRUST = "/etc/ssl/certs"
_BUILDAH_OPTIONS = (
    "--layers", "--isolation", "chroot", "--network", "host", "--quiet", "--format", "docker",
    # The CA of a private network is trusted during the build, but is not part of the image.
    "--volume", f"{TRUST}:{TRUST}:ro",
)  # fmt: skip


def name_of(target: str, tag: str = "dev") -> str:
    """Return the name of a target's image."""
    return f"localhost/agentrun/{target}:{tag}"


def digest_of(target: str, base: str) -> str:
    """Hash all inputs of a target's image."""
    digest = hashlib.sha256(base.encode())
    for pattern in (*INPUTS["all"], *INPUTS[target]):
        for file in sorted(paths.CHECKOUT.glob(pattern)):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(str(file.relative_to(paths.CHECKOUT)).encode() + b"\0")
                digest.update(file.read_bytes())
    return digest.hexdigest()


def build(targets: Sequence[str] = TARGETS, tag: str = "dev") -> None:
    """Build the images that have changed. Raises DevError for an unknown target."""
    unknown = set(targets) - set(ALL)
    if unknown:
        raise DevError(f"{', '.join(sorted(unknown))}: not among {', '.join(ALL)}")
    began = time.monotonic()
    builder = _build_with_docker if kind.available() else _build_with_buildah
    for target in targets:
        with step(f"building {name_of(target, tag)}"):
            builder(target, tag)
    say(f"{len(targets)} images in {time.monotonic() - began:.1f} s")


def provide(name: str, *targets: str) -> None:
    """Build the images that have changed, and load them into the cluster."""
    build(targets)
    load(name, [name_of(target) for target in targets])


def load(name: str, images: Sequence[str]) -> None:
    """Load local images into the cluster if they have changed."""
    if kind.available():
        for image in images:
            kind.load(name, image)
        return
    found = cluster.find(name)
    if found is None:
        say(f"cluster {name} is not there, so the images were loaded nowhere")
        return
    containerd = oci.ctr(found.socket)
    for image in images:
        _load(containerd, image)


def unpack(images: Sequence[str]) -> None:
    """Unpack images into the cache, so that every new cluster starts with them."""
    if kind.available():
        return
    with tools.alone("unpacked"), unpacked.containerd() as containerd:
        for image in images:
            _load(containerd, image)


def retag(name: str, target: str, tag: str) -> None:
    """Add another tag to a target's image in the cluster."""
    old, new = name_of(target), name_of(target, tag)
    if kind.available():
        run(["docker", "tag", old, new])
        kind.load(name, new)
        return
    found = cluster.find(name)
    if found is None:
        raise DevError(f"cluster {name} is not there: run `python -m dev up`")
    run([*oci.ctr(found.socket), "images", "tag", "--force", old, new])


def vary(target: str, tag: str, *instructions: str) -> None:
    """Build a variant of a target's image with more instructions, unless it exists."""
    base, new = name_of(target), name_of(target, tag)
    text = "\n".join((f"FROM {base}", *instructions, ""))
    with step(f"building {new}"), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "Dockerfile"
        file.write_text(text, encoding="utf-8")
        if kind.available():
            run(["docker", "build", "--quiet", "-t", new, folder])
            return
        id_of_base = json.loads(run([*oci.buildah(), "images", "--json", base]))[0]["id"]
        digest = hashlib.sha256(f"{id_of_base}\n{text}".encode()).hexdigest()
        if _is_built(new, digest):
            return
        command = [*oci.buildah(), "bud", *_BUILDAH_OPTIONS, "--pull=never", "-f", file]
        run([*command, "--label", f"{LABEL}={digest}", "-t", new, folder])


def _build_with_docker(target: str, tag: str) -> None:
    command = ["docker", "build", "--quiet", "-f", DOCKERFILE, "--target", target]
    run([*command, "-t", name_of(target, tag), "."], cwd=paths.CHECKOUT)


def _build_with_buildah(target: str, tag: str) -> None:
    base = _base()
    # buildah would detect this itself, but takes seconds for it.
    digest = digest_of(target, base)
    if _is_built(name_of(target, tag), digest):
        return
    options = [*_BUILDAH_OPTIONS, "--build-arg", f"BASE={base}"]
    options += ["--label", f"{LABEL}={digest}"]
    options += ["--ignorefile", f"{DOCKERFILE}.dockerignore"]
    command = [*oci.buildah(), "bud", *options, "-f", DOCKERFILE, "--target", target]
    run([*command, "-t", name_of(target, tag), "."], cwd=paths.CHECKOUT)


def _is_built(image: str, digest: str) -> bool:
    shown = attempt([*oci.buildah(), "inspect", "--type", "image", image])
    return f'"{LABEL}": "{digest}"' in shown.stdout


def _base() -> str:
    """Build the base image from Debian packages: a registry may not be reachable."""
    archive = _base_archive()
    name = f"localhost/agentrun/base:{archive.stem}"
    if attempt([*oci.buildah(), "inspect", "--type", "image", name]).returncode != 0:
        container = run([*oci.buildah(), "from", "scratch"]).strip()
        run([*oci.buildah(), "add", container, archive, "/"])
        run([*oci.buildah(), "config", "--cmd", "python3", container])
        run([*oci.buildah(), "commit", "--rm", container, name])
    return name


def _base_archive() -> Path:
    """Build the base image's root file system, once per set of options. Return its archive."""
    key = hashlib.sha256("\n".join(_MMDEBSTRAP_OPTIONS).encode()).hexdigest()[:12]
    file = paths.cache() / "base" / f"bookworm-{key}.tar"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.tar")
        with step("making the base image from Debian packages"):
            run(["mmdebstrap", *_MMDEBSTRAP_OPTIONS, "bookworm", part])
        part.rename(file)
    return file


def _load(containerd: list[object], image: str) -> None:
    layout, size = _exported(image)
    manifest = layout.manifest_of(image) or {}
    there = run([*containerd, "images", "list", f"name=={image}"])
    if manifest.get("digest", "?") in there:
        say(f"{image} is loaded, {size}")
        return
    with step(f"loading {image}, {size}"):
        present = run([*containerd, "content", "list", "--quiet"]).split()
        oci.load(layout, image, containerd, present)


def _exported(image: str) -> tuple[oci.Layout, str]:
    """Export the image to the OCI layout that all clusters load from. Return layout and size."""
    layout = oci.Layout(paths.cache() / "oci")
    # Clusters that start concurrently share the layout.
    with tools.alone("images"):
        listed = json.loads(run([*oci.buildah(), "images", "--json", image]))[0]
        mark = layout.folder / "pushed" / re.sub("[/:]", "_", image)
        if not mark.exists() or mark.read_text(encoding="ascii") != listed["id"]:
            with step(f"exporting {image}"):
                oci.push(image, f"oci:{layout.folder}:{image}")
                layout.prune()
                mark.parent.mkdir(exist_ok=True)
                mark.write_text(listed["id"], encoding="ascii")
    return layout, listed["size"]
