"""
Reads the state of the agent's git: its index, its exclude files, its settings and its refs.

No git runs on the agent's repository, since it would obey that repository's config. The files are
copied into the runner's private repository and read there, as data: which paths are tracked, which
changes the agent's git ignores, and which files it must not change.
"""

import errno
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentrun.runner import folders
from agentrun.runner.folders import Folder
from agentrun.runner.git.git import UPLOAD_PACK, Git, GitError, nul_separated
from agentrun.runner.git.workspace import run_privately

GITLINK = "160000"
"""The mode of a submodule's entry, which names a commit of another repository."""
_COPIED_INDEX = "agentrun-agent-index"
_FLAGS = "agentrun-flags"
_LARGEST_INDEX = 512 * 1024 * 1024
_LARGEST_TEXT = 1024 * 1024
_SHARED = re.compile(r"sharedindex\.[0-9a-f]{40,64}")
_MOST_SHARED = 4
_TRUE = ("", "true", "yes", "on", "1")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_MOST_WORKTREES = 100


@dataclass(frozen=True)
class IndexChanges:
    """How the agent's index differs from a commit. Paths are relative to the workspace."""

    added: list[str] = field(default_factory=list)
    """Tracked in the index alone: with ``git add -f`` also files that are ignored."""
    removed: list[str] = field(default_factory=list)
    """Tracked in the commit alone: removed, or no longer tracked (``git rm --cached``)."""
    links: dict[str, str | None] = field(default_factory=dict)
    """The commits of submodules that the index adds or changes; None for one that it removes."""
    hidden: list[str] = field(default_factory=list)
    """Whose changes git ignores: skip-worktree (a sparse checkout), or assume-unchanged."""


class AgentRepository:
    """The agent's repository in its workspace, read by copies in a private repository."""

    def __init__(self, git: Git, private: Path, workspace: Path, home: Path | None) -> None:
        self._git = git
        self._private = private
        self._workspace = workspace
        self._home = home

    async def fetch(self, *refspecs: str) -> None:
        """Fetch refs into the private repository, as from an untrusted server."""
        args = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--update-shallow")
        await self._ask(*args, refs=refspecs)

    async def refs(self) -> dict[str, str]:
        """Return all refs with their commits. Raises GitError if the repository is not usable."""
        # With --refs, git would leave out refs/stash.
        listed = await self._ask("ls-remote", "-q")
        pairs = (line.split("\t", 1) for line in listed.splitlines())
        return {name: commit for commit, name in pairs if not name.endswith("^{}")}

    async def settings(self) -> Mapping[str, str]:
        """Read the settings of the repository and of its user. Included files are not read."""
        places = [
            (self._home, ".config/git/config"), (self._home, ".gitconfig"),
            (self._workspace, ".git/config"), (self._workspace, ".git/config.worktree"),
        ]  # fmt: skip
        found: dict[str, str] = {}
        for folder, path in places:
            if folder is not None and (text := _read(folder, path)) is not None:
                found |= await self._parsed(text)
        return found

    async def has_remote(self, repository: str) -> bool:
        """Return whether the repository in a folder of the workspace has a remote."""
        text = _read(self._workspace, f"{repository}/.git/config")
        settings = await self._parsed(text) if text is not None else {}
        return any(key.startswith("remote.") and key.endswith(".url") for key in settings)

    def excludes(self, settings: Mapping[str, str]) -> bytes:
        """Return the patterns of files that the agent's git ignores besides its .gitignore."""
        own = _read(self._workspace, ".git/info/exclude") or b""
        named = settings.get("core.excludesfile")
        # Later patterns take precedence, and info/exclude takes it over the user's.
        return (self._user_excludes(named) or b"") + b"\n" + own

    async def index(self, commit: str, settings: Mapping[str, str]) -> IndexChanges | None:
        """Compare the index with a commit. None if there is no index that git can read."""
        copied = self._private / _COPIED_INDEX
        try:
            with Folder.at(self._workspace) as workspace, workspace.folder(".git") as folder:
                _copy(folder, "index", copied)
                shared = [name for name in folder.names() if _SHARED.fullmatch(name)]
                for name in shared[:_MOST_SHARED]:
                    _copy(folder, name, self._private / name)
            return await self._compare(commit, copied, is_true(settings, "core.sparsecheckout"))
        except (GitError, OSError):
            return None
        finally:
            for file in (copied, self._private / _FLAGS, *self._private.glob("sharedindex.*")):
                file.unlink(missing_ok=True)

    def worktree_heads(self) -> dict[str, str]:
        """Return the branch or the commit of each linked worktree, by the worktree's name."""
        found: dict[str, str] = {}
        try:
            with (
                Folder.at(self._workspace) as workspace,
                workspace.folder(".git/worktrees") as folder,
            ):
                names = folder.names()[:_MOST_WORKTREES]
        except OSError:
            return found
        for name in names:
            text = _read(self._workspace, f".git/worktrees/{name}/HEAD") or b""
            head = text.decode(errors="replace").strip().removeprefix("ref: ")
            if head.startswith("refs/heads/") or _COMMIT.fullmatch(head):
                found[name] = head
        return found

    def worktree_at(self, path: str) -> str:
        """Return the name of the linked worktree in a folder; empty if it is none."""
        text = (_read(self._workspace, f"{path}/.git") or b"").decode(errors="surrogateescape")
        above, _, name = text.strip().rpartition("/")
        return name if above.endswith(".git/worktrees") else ""

    async def _ask(self, *args: str, refs: Sequence[str] = ()) -> str:
        place = (f"--upload-pack={UPLOAD_PACK}", str(self._workspace))
        return await self._git.run(
            *args, *place, *refs, repository=self._private, reads=[self._workspace]
        )

    async def _parsed(self, text: bytes) -> dict[str, str]:
        """Parse a config file; an unreadable one has no settings."""
        file = self._private / "agentrun-config"
        file.write_bytes(text)
        try:
            args = ("config", "--file", str(file), "--no-includes", "-z", "--list")
            listed = await self._git.run(*args, repository=self._private)
        except GitError:
            return {}
        finally:
            file.unlink()
        pairs = (one.partition("\n") for one in listed.split("\0") if one)
        return {key: value for key, _, value in pairs}

    def _user_excludes(self, named: str | None) -> bytes | None:
        if named is None:
            return _read(self._home, ".config/git/ignore") if self._home else None
        folders = [(self._workspace, str(self._workspace))]
        if self._home is not None:
            folders += [(self._home, str(self._home)), (self._home, "~")]
        for folder, prefix in folders:
            if named.startswith(f"{prefix}/"):
                return _read(folder, named.removeprefix(f"{prefix}/"))
        return None if named.startswith(("/", "~")) else _read(self._workspace, named)

    async def _compare(self, commit: str, index: Path, is_sparse: bool) -> IndexChanges:
        changes = IndexChanges()
        args = ("diff-index", "--cached", "--raw", "-z", "--no-renames", "--no-abbrev")
        listed = await self._run(index, *args, "--ignore-submodules=none", commit)
        fields = iter(listed.split("\0"))
        for entry, path in zip(fields, fields, strict=False):
            old, new, _, commit_of_link, status = entry.lstrip(":").split()
            if GITLINK in (old, new):
                changes.links[path] = commit_of_link if new == GITLINK else None
            elif status.startswith("D"):
                changes.removed.append(path)
            if new not in (GITLINK, "000000") and (status.startswith("A") or old == GITLINK):
                changes.added.append(path)
        names = self._private / _FLAGS
        await self._run(index, "ls-files", "-v", "-z", output=names)
        with Folder.at(self._workspace) as workspace:
            for line in nul_separated(names):
                flag, path = line[:1], line[2:]
                # git clears skip-worktree of files that exist in a sparse checkout.
                if (flag == "S" and not (is_sparse and _exists(workspace, path))) or flag.islower():
                    changes.hidden.append(path)
        return changes

    async def _run(self, index: Path, *args: str, output: Path | None = None) -> str:
        return await run_privately(self._git, self._private, *args, index=index, output=output)


def is_true(settings: Mapping[str, str], key: str, default: bool = False) -> bool:
    """Return the value of a boolean setting; ``key`` is in lower case."""
    value = settings.get(key)
    return default if value is None else value.lower() in _TRUE


def _exists(folder: Folder, path: str) -> bool:
    try:
        folder.status(path)
    except OSError:
        return False
    return True


def _read(folder: Path, path: str) -> bytes | None:
    """Read a small file that the agent wrote. None if it is missing or cannot be read."""
    try:
        with Folder.at(folder) as opened, opened.read(path) as file:
            return file.read(_LARGEST_TEXT)
    except OSError:
        return None


def _copy(folder: Folder, name: str, target: Path) -> None:
    with folder.read(name) as source, target.open("wb") as copy:
        if os.fstat(source.fileno()).st_size > _LARGEST_INDEX:
            raise OSError(errno.EFBIG, f"larger than {_LARGEST_INDEX} bytes", name)
        folders.copy_file(source, copy)
