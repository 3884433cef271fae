"""
Handing an image to containerd, and of it only what containerd does not have.

Images share most of their layers. They are kept side by side as an OCI layout, where a layer
is written once, and go into the cluster as an archive that leaves out the layers already there.
"""

import io
import json
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dev.shell import DevError, run


@dataclass(frozen=True)
class Layout:
    """A folder in the form of the OCI image layout."""

    folder: Path

    def manifest_of(self, name: str) -> dict[str, Any] | None:
        """Find the descriptor of an image's manifest by the image's name."""
        index = self.folder / "index.json"
        if not index.exists():
            return None
        for entry in json.loads(index.read_text(encoding="utf-8"))["manifests"]:
            if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
                return dict(entry)
        return None

    def blob(self, digest: str) -> Path:
        """Name the file of a blob."""
        return self.folder / "blobs" / digest.replace(":", "/")

    def blobs_of(self, manifest: dict[str, Any]) -> list[str]:
        """List the digests that make up an image, its manifest first."""
        content = json.loads(self.blob(manifest["digest"]).read_bytes())
        parts = [manifest, content["config"], *content["layers"]]
        return [part["digest"] for part in parts]

    def prune(self) -> None:
        """Remove the images that lost their name to a newer one, and the blobs of no image."""
        file = self.folder / "index.json"
        index = json.loads(file.read_text(encoding="utf-8"))
        index["manifests"] = [entry for entry in index["manifests"] if entry.get("annotations")]
        file.write_text(json.dumps(index), encoding="utf-8")
        used = {digest for entry in index["manifests"] for digest in self.blobs_of(entry)}
        for blob in (self.folder / "blobs" / "sha256").iterdir():
            if f"sha256:{blob.name}" not in used:
                blob.unlink()


def ctr(socket: Path) -> list[object]:
    """Begin a command to the containerd at ``socket``, about what its pods are made of."""
    return ["ctr", "--address", socket, "--namespace", "k8s.io"]


def load(layout: Layout, name: str, containerd: list[object], present: Iterable[str]) -> None:
    """Import an image of ``layout``; the blobs in ``present`` are there already."""
    manifest = layout.manifest_of(name)
    if manifest is None:
        raise DevError(f"there is no image {name}")
    # Under the final name the last image would lose its layers in the middle of this: they are
    # collected as soon as nothing is named that has them, though the new image is to share them.
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
