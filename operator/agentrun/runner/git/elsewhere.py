"""
Finds the agent's work that its HEAD does not contain.

Commits on other branches, stashes and the commits of linked worktrees are fetched into the private
repository, where a snapshot keeps them; the run's result names them. Nested repositories are found
by their folders: one without a remote is the agent's own work, whose files belong to the change.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentrun.runner.folders import Entry, Folder
from agentrun.runner.git.agent_repository import AgentRepository
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.git.staging import DEEPEST
from agentrun.runner.git.workspace import ELSEWHERE

_MOST_REFS = 500
_MOST_ASKED = 50


@dataclass(frozen=True)
class Nested:
    """Repositories below the workspace, by their paths, which the agent's git does not ignore."""

    own: list[str]
    """Without a remote: their files belong to the change."""
    cloned: list[str]
    """With a remote: their files do not belong to the change."""
    linked: list[str]
    """Linked worktrees and submodules, whose repository is in another folder."""
    unreadable: dict[str, str]
    """Folders that cannot be listed, and why."""


@dataclass(frozen=True)
class Found:
    """What a walk through the workspace finds."""

    repositories: list[str] = field(default_factory=list)
    linked: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    async def sorted(self, agent: AgentRepository, ignored: Collection[str]) -> Nested:
        """Sort the repositories by whether they have a remote."""
        own, cloned = list[str](), list[str]()
        for path in self.repositories:
            if path not in ignored:
                # Each answer is a process.
                is_cloned = len(own) + len(cloned) >= _MOST_ASKED or await agent.has_remote(path)
                (cloned if is_cloned else own).append(path)
        unreadable = {path: why for path, why in self.unreadable.items() if path not in ignored}
        linked = [path for path in self.linked if path not in ignored]
        return Nested(own, cloned, linked, unreadable)


class Elsewhere:
    """Other refs of the agent's repository."""

    def __init__(self, git: Git, private: Path, agent: AgentRepository) -> None:
        self._git = git
        self._private = private
        self._agent = agent
        self.worktrees: dict[str, str] = {}
        """The commits of linked worktrees by their names, once they were described."""

    async def describe(self, base: str, head: str) -> list[str]:
        """Fetch the agent's other refs, and describe those with commits that ``head`` lacks."""
        try:
            refs = await self._agent.refs()
        except GitError:
            return []  # no usable repository, so its HEAD was not fetched either
        included = {base, head} | {
            commit for name, commit in refs.items() if name.startswith("refs/remotes/")
        }
        own = [name for name in refs if _is_own(name) and refs[name] not in included]
        specs = {f"{ELSEWHERE}/{name.removeprefix('refs/')}": name for name in own[:_MOST_REFS]}
        for name, place in self._agent.worktree_heads().items():
            self.worktrees[name] = commit = refs.get(place, place)
            if place not in refs and commit not in included:
                specs[f"{ELSEWHERE}/worktrees/{name}"] = commit
        failures = await self._fetch(specs)
        found = [await self._describe(ref, included) for ref in specs if ref not in failures]
        return [one for one in (*found, *failures.values()) if one]

    async def _fetch(self, specs: Mapping[str, str]) -> dict[str, str]:
        """Fetch the refs into the private repository; return which failed, and why."""
        if not specs:
            return {}
        try:
            await self._agent.fetch(*(f"+{one}:{ref}" for ref, one in specs.items()))
        except GitError as error:
            if len(specs) == 1:
                (ref,) = specs
                return {ref: f"{_short(ref)}: its commits cannot be read: {error.reason}"}
            failures: dict[str, str] = {}
            for ref, one in specs.items():
                failures |= await self._fetch({ref: one})
            return failures
        return {}

    async def _describe(self, ref: str, included: Iterable[str]) -> str | None:
        stdin = "".join(f"^{one}\n" for one in included)
        args = ("rev-list", "--count", "--ignore-missing", ref, "--stdin")
        count = int(await self._git.run(*args, repository=self._private, stdin=stdin.encode()))
        if not count:
            await self._git.run("update-ref", "-d", ref, repository=self._private)
            return None
        commit = (await self._git.run("rev-parse", ref, repository=self._private)).strip()
        what = "stashed changes" if _short(ref) == "stash" else _plural(count, "commit")
        return f"{_short(ref)}: {what} ({commit[:12]})"


def find_nested(workspace: Path) -> Found:
    """Walk through the workspace, and note the folders with a ``.git``."""
    found = Found()
    stack = [""]
    with Folder.at(workspace) as opened:
        while stack:
            path = stack.pop()
            entries = _entries(opened, path, found.unreadable)
            marks = [entry for entry in entries if entry.name == ".git"]
            if path and marks:
                (found.repositories if marks[0].is_folder else found.linked).append(path)
            stack += [one.path for one in entries if one.is_folder and one.name != ".git"]
    return found


def files_below(workspace: Path, folders: Iterable[str], excluded: Collection[str]) -> list[str]:
    """List the files in ``folders``, without repositories' own files and ``excluded`` folders."""
    found: list[str] = []
    stack = list(folders)
    with Folder.at(workspace) as opened:
        while stack:
            for entry in _entries(opened, stack.pop(), {}):
                if entry.name != ".git" and entry.path not in excluded:
                    (stack if entry.is_folder else found).append(entry.path)
    return found


def _entries(opened: Folder, path: str, unreadable: dict[str, str]) -> list[Entry]:
    if path.count("/") >= DEEPEST:
        unreadable[path] = f"more than {DEEPEST} folders deep"
        return []
    try:
        with opened.folder(path) as folder:
            return list(folder.entries(path))
    except OSError as error:
        unreadable[path] = error.strerror or str(error)
        return []


def _is_own(name: str) -> bool:
    return name == "refs/stash" or name.startswith(("refs/heads/", "refs/tags/"))


def _short(ref: str) -> str:
    return ref.removeprefix(f"{ELSEWHERE}/").removeprefix("heads/")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
