import json
from pathlib import Path
from typing import Any

import pytest

from dev import oci
from dev.shell import DevError


def layout(folder: Path) -> oci.Layout:
    """A layout with an image ``kept`` and an older one that lost its name."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def image(digest: str, layer: str) -> dict[str, Any]:
        content = {
            "config": {"digest": "sha256:config"},
            "layers": [{"digest": "sha256:base"}, {"digest": f"sha256:{layer}"}],
        }
        (blobs / digest).write_text(json.dumps(content), encoding="utf-8")
        for name in ("config", "base", layer):
            (blobs / name).write_text(name, encoding="utf-8")
        return {"digest": f"sha256:{digest}", "size": 1}

    kept = {"annotations": {"org.opencontainers.image.ref.name": "kept"}}
    manifests = [image("old", "old-app"), image("new", "new-app") | kept]
    (folder / "index.json").write_text(json.dumps({"manifests": manifests}), encoding="utf-8")
    return oci.Layout(folder)


def test_an_image_is_found_by_its_name(tmp_path: Path) -> None:
    found = layout(tmp_path)
    manifest = found.manifest_of("kept")
    assert manifest is not None
    digests = ["sha256:new", "sha256:config", "sha256:base", "sha256:new-app"]
    assert found.blobs_of(manifest) == digests
    assert found.manifest_of("other") is None


def test_an_image_without_a_name_is_removed(tmp_path: Path) -> None:
    layout(tmp_path).prune()
    left = {file.name for file in (tmp_path / "blobs" / "sha256").iterdir()}
    assert left == {"new", "config", "base", "new-app"}


def test_an_unknown_image_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(DevError, match="no image other"):
        oci.load(layout(tmp_path), "other", ["false"], [])
