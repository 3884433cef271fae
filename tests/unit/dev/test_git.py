import subprocess
from pathlib import Path

import pytest

from dev.git.__main__ import TAKEN, configuration, make, protect
from dev.git.demo import FILES


def git(*arguments: str | Path) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_new_repository_has_one_commit(tmp_path: Path) -> None:
    make(tmp_path / "demo.git", FILES)
    assert git("-C", tmp_path / "demo.git", "rev-list", "--count", "main") == "1"
    listed = git("-C", tmp_path / "demo.git", "ls-tree", "-r", "--name-only", "main")
    assert set(listed.splitlines()) == set(FILES)


def test_the_same_files_are_the_same_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever started the tests, from wherever, must not show in the commit.
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody")
    for name in ("one", "two"):
        make(tmp_path / name, FILES)
    heads = {git("-C", tmp_path / name, "rev-parse", "main") for name in ("one", "two")}
    assert len(heads) == 1


def test_an_empty_repository_has_no_commit(tmp_path: Path) -> None:
    make(tmp_path / "empty.git", {})
    assert git("-C", tmp_path / "empty.git", "for-each-ref") == ""


def test_only_private_repositories_require_credentials(tmp_path: Path) -> None:
    text = configuration(tmp_path, 8080, tmp_path / "accounts")
    before, _, after = text.partition('$HTTP["url"] =~ "^/private/"')
    assert "auth.require" not in before
    assert "valid-user" in after


def test_a_protected_repository_accepts_only_fast_forwards_of_its_open_branch(
    tmp_path: Path,
) -> None:
    repository, clone = tmp_path / "protected.git", tmp_path / "clone"
    make(repository, FILES)
    protect(repository)
    git("clone", "--quiet", repository, clone)
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    git("-C", clone, *who, "commit", "--quiet", "--allow-empty", "-m", "x")

    def push(branch: str) -> str:
        command = ["git", "-C", str(clone), "push", "origin", f"HEAD:refs/heads/{branch}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "refs/heads/main is protected" in push("main")
    assert "[rejected]" in push(TAKEN)
    git("-C", clone, "checkout", "--quiet", TAKEN)
    git("-C", clone, *who, "commit", "--quiet", "--allow-empty", "-m", "x")
    assert "rejected" not in push(TAKEN)
