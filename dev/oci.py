"""
Images as files: built of one program, and loaded into containerd without what it already has.

Images share most of their layers. They are stored together in an OCI layout, where each layer is
written once, and are imported as an archive that omits the layers already present.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dev import paths
from dev.shell import DevError, run


@dataclass(frozen=True)
class Layout:
    """A folder in the OCI image layout."""

    folder: Path

    def manifest_of(self, name: str) -> dict[str, Any] | None:
        """Return the descriptor of an image's manifest, or None if there is no such image."""
        index = self.folder / "index.json"
        if not index.exists():
            return None
        for entry in json.loads(index.read_text(encoding="utf-8"))["manifests"]:
            if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
                return dict(entry)
        return None

    def blob(self, digest: str) -> Path:
        """Return the path of a blob."""
        return self.folder / "blobs" / digest.replace(":", "/")

    def blobs_of(self, manifest: dict[str, Any]) -> list[str]:
        """Return the digests of an image's blobs, its manifest first."""
        content = json.loads(self.blob(manifest["digest"]).read_bytes())
        parts = [manifest, content["config"], *content["layers"]]
        return [part["digest"] for part in parts]

    def prune(self) -> None:
        """Remove the images that lost their name to a newer one, and the unreferenced blobs."""
        file = self.folder / "index.json"
        index = json.loads(file.read_text(encoding="utf-8"))
        index["manifests"] = [entry for entry in index["manifests"] if entry.get("annotations")]
        file.write_text(json.dumps(index), encoding="utf-8")
        used = {digest for entry in index["manifests"] for digest in self.blobs_of(entry)}
        for blob in (self.folder / "blobs" / "sha256").iterdir():
            if f"sha256:{blob.name}" not in used:
                blob.unlink()


def ctr(socket: Path) -> list[object]:
    """Return the beginning of a ctr command for ``socket``, in the namespace of pods' images."""
    return ["ctr", "--address", socket, "--namespace", "k8s.io"]


def buildah() -> list[object]:
    """Return the beginning of a buildah command."""
    # Separate storage: no other images interfere, and it is removed with the cache.
    root = paths.cache() / "containers"
    # A separate mount namespace: its mounts end with the command.
    alone = ["unshare", "--mount"]
    return [*alone, "buildah", "--root", root / "root", "--runroot", root / "run"]


def archive_program(program: Path, name: str, user: str, archive: Path) -> None:
    """Build an image of one static program in the format of ``docker save``."""
    lines = ["FROM scratch", f"COPY {program.name} /", f'ENTRYPOINT ["/{program.name}"]']
    if user:
        lines.append(f"USER {user}")
    part = archive.with_suffix(".part")
    command = [*buildah(), "bud", "--quiet", "--layers=false", "--format", "docker", "-f", "-"]
    run([*command, "-t", f"docker-archive:{part}:{name}", program.parent], stdin="\n".join(lines))
    part.rename(archive)


def push(image: str, destination: str, *options: str) -> None:
    """Push a built image. Its layers have the same digests at every destination."""
    # A layout stores compressed layers only, and this compression is the fastest.
    form = ("--format", "oci", "--compression-format", "zstd", "--compression-level", 1)
    run([*buildah(), "push", "--quiet", *form, *options, image, destination])


def load(layout: Layout, name: str, containerd: list[object], present: Iterable[str]) -> None:
    """Import an image of ``layout``, without the blobs in ``present``."""
    manifest = layout.manifest_of(name)
    if manifest is None:
        raise DevError(f"there is no image {name}")
    # Under the final name, the import would release the previous image's layers, which are garbage
    # collected as soon as no name refers to them, although the new image shares them.
    incoming = f"{name}-incoming"
    command = [str(word) for word in (*containerd, "images", "import", "-")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        missing = [d for d in layout.blobs_of(manifest) if d not in set(present)]
        _write(layout, incoming, manifest, missing, importing.stdin)
        importing.stdin.close()
    if importing.returncode != 0:
        raise DevError(f"containerd did not take {name}")
    run([*containerd, "images", "tag", "--force", incoming, name])
    run([*containerd, "images", "remove", incoming])


def _write(
    layout: Layout, name: str, manifest: dict[str, Any], digests: list[str], into: Any
) -> None:
    named = {**manifest, "annotations": {"io.containerd.image.name": name}}
    index = {"schemaVersion": 2, "manifests": [named]}
    with tarfile.open(fileobj=into, mode="w|") as tar:
        for digest in digests:
            with layout.blob(digest).open("rb") as blob:
                _add(tar, f"blobs/{digest.replace(':', '/')}", blob)
        _add(tar, "oci-layout", io.BytesIO(b'{"imageLayoutVersion": "1.0.0"}'))
        _add(tar, "index.json", io.BytesIO(json.dumps(index).encode()))


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(entry, content)
