from pathlib import Path

import pytest

from dev import unpacked


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AGENTRUN_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "cache" / "unpacked" / "root"
    for file in ("metadata/meta.db", "snapshots/1/fs/etc/names.db"):
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text("as it was", encoding="utf-8")
    return root


def test_a_new_root_has_links_to_what_is_unpacked_and_databases_of_its_own(
    tmp_path: Path, cache: Path
) -> None:
    root = tmp_path / "cluster" / "containerd"
    root.parent.mkdir()
    unpacked.seed(root)
    assert (root / "snapshots/1/fs/etc/names.db").samefile(cache / "snapshots/1/fs/etc/names.db")
    (root / "metadata/meta.db").write_text("changed", encoding="utf-8")
    assert (cache / "metadata/meta.db").read_text(encoding="utf-8") == "as it was"


def test_an_existing_root_is_not_changed(tmp_path: Path, cache: Path) -> None:
    unpacked.seed(tmp_path)
    assert not (tmp_path / "snapshots").exists()


def test_no_root_is_created_without_unpacked_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTRUN_CACHE", str(tmp_path / "cache"))
    unpacked.seed(tmp_path / "containerd")
    assert not (tmp_path / "containerd").exists()
