"""
Writes the files of a workspace as a tree, as ``git add --all`` of the agent would.

git only lists the files that changed; their content is read from open folders. The state of
the agent's git counts: tracked paths, ignored files, hidden changes. What differs from the clone's
commit as soon as it is cloned, such as line ends, is no change of the agent.
"""

import asyncio
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from agentrun.runner.folders import Folder
from agentrun.runner.git.agent_repository import (
    GITLINK,
    AgentRepository,
    IndexChanges,
    is_true,
)
from agentrun.runner.git.elsewhere import Nested, files_below, find_nested
from agentrun.runner.git.git import Git, GitError, nul_joined, nul_separated
from agentrun.runner.git.staging import Pristine, Stage, mode_setting
from agentrun.runner.git.workspace import INDEX, Base, index_env, run_privately

_IGNORED = (0, 1)
"""The exit codes of ``git check-ignore``; 1 means that no path is ignored."""
_CLONED = "a repository of its own, cloned from elsewhere: its files are not part of the change"
_SUBMODULE = "a submodule: the change contains its commit, but none of its files"
_WORKTREE = "a linked worktree: its uncommitted files are not part of the change"
_LINKED = "its repository is in another folder: its files are not part of the change"


class TreeWriter:
    """Writes the tree of one workspace, and names in ``left_out`` what it does not contain."""

    def __init__(
        self,
        git: Git,
        base: Base,
        workspace: Path,
        agent: AgentRepository,
        worktrees: Mapping[str, str],
    ) -> None:
        self._git = git
        self._base = base
        self._workspace = workspace
        self._agent = agent
        self._worktrees = worktrees
        self._scratch = base.private / "agentrun-scratch"
        self.left_out: list[str] = []

    async def write(self, head: str) -> str:
        """Return the id of the tree; it starts from the tree of ``head``."""
        # A snapshot packs the private repository, so nothing else may stay in it.
        try:
            self._scratch.mkdir(exist_ok=True)
            return await self._write(head)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _write(self, head: str) -> str:
        await self._private("read-tree", head)
        settings = await self._agent.settings()
        has_modes = is_true(settings, "core.filemode", default=True)
        self._write_excludes(settings)
        index = await self._agent.index(head, settings) or IndexChanges()
        links = await self._links(index)
        # git would open a submodule's repository, with that repository's config.
        await self._update("--force-remove", [*index.removed, *links])
        await self._update("--skip-worktree", await self._in_index(index.hidden))
        nested = await self._nested()
        names = await self._list_files(has_modes)
        with names.open("ab") as file:
            file.write(nul_joined((*index.added, *await self._files_of(nested))))
        modules = [path for path, commit in links.items() if commit]
        await self._stage(head, names, has_modes, {*modules, *nested.cloned, *nested.linked})
        await self._restore(links)
        await self._name(nested, links)
        return await self._private("write-tree")

    def _write_excludes(self, settings: Mapping[str, str]) -> None:
        info = self._base.private / "info"
        info.mkdir(exist_ok=True)
        (info / "exclude").write_bytes(self._agent.excludes(settings))

    async def _links(self, index: IndexChanges) -> dict[str, str]:
        """Map submodules to their commits, as the agent's index says; a removed one has none."""
        links: dict[str, str] = {}
        for entry in await self._listed("ls-files", "-s", "-z"):
            described, _, path = entry.partition("\t")
            if described.startswith(f"{GITLINK} "):
                links[path] = described.split()[1]
        return links | {path: commit or "" for path, commit in index.links.items()}

    async def _in_index(self, paths: list[str]) -> list[str]:
        if not paths:
            return []
        wanted = set(paths)
        return [path for path in await self._listed("ls-files", "-z") if path in wanted]

    async def _nested(self) -> Nested:
        """Find the nested repositories that the agent's git does not ignore."""
        found = await asyncio.to_thread(find_nested, self._workspace)
        ignored = await self._ignored([*found.repositories, *found.linked, *found.unreadable])
        return await found.sorted(self._agent, ignored)

    async def _files_of(self, nested: Nested) -> list[str]:
        """List the files of the nested repositories that are the agent's own work."""
        others = {*nested.cloned, *nested.linked}
        found = await asyncio.to_thread(files_below, self._workspace, nested.own, others)
        ignored = await self._ignored(found)
        return [path for path in found if path not in ignored]

    async def _list_files(self, has_modes: bool) -> Path:
        """List the modified, new and removed files in a file."""
        names = self._scratch / "names"
        args = ("ls-files", "-z", "--deduplicate", "--modified", "--deleted", "--others")
        await self._git.run(
            *mode_setting(has_modes), *args, "--exclude-standard", "--", ":(top)",
            repository=self._base.private, work_tree=self._workspace, reads=[self._workspace],
            env=index_env(self._base.private / INDEX), output=names,
        )  # fmt: skip
        return names

    async def _stage(
        self, head: str, names: Path, has_modes: bool, excluded: Collection[str]
    ) -> None:
        pristine = await Pristine.of(self._git, self._base, head, self._scratch / "base-index")
        stage = Stage(self._git, self._base.private, pristine, has_modes)
        with Folder.at(self._workspace) as workspace:
            await stage.add(workspace, names, excluded)
        self.left_out += stage.left_out

    async def _restore(self, links: Mapping[str, str]) -> None:
        entries = [f"{GITLINK} {commit} 0\t{path}" for path, commit in links.items() if commit]
        if entries:
            stdin = nul_joined(entries)
            await self._private("update-index", "-z", "--index-info", stdin=stdin)

    async def _name(self, nested: Nested, links: Mapping[str, str]) -> None:
        self.left_out += [f"{path}: {_CLONED}" for path in nested.cloned if not links.get(path)]
        for path in nested.linked:
            if links.get(path):
                self.left_out.append(f"{path}: {_SUBMODULE}")
            elif (commit := self._worktrees.get(self._agent.worktree_at(path))) is None:
                self.left_out.append(f"{path}: {_LINKED}")
            elif await self._is_modified(path, commit):
                self.left_out.append(f"{path}: {_WORKTREE}")
        self.left_out += [f"{path}: {why}" for path, why in nested.unreadable.items()]

    async def _is_modified(self, worktree: str, commit: str) -> bool:
        """Return whether a linked worktree differs from its commit."""
        place = self._workspace / worktree
        env = index_env(self._scratch / "worktree-index")
        listed = ("ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard")
        try:
            await self._git.run("read-tree", commit, repository=self._base.private, env=env)
            found = await self._git.run(
                *listed, repository=self._base.private, work_tree=place, reads=[place], env=env
            )
        except (GitError, OSError):
            return True
        return bool(found)

    async def _ignored(self, paths: Iterable[str]) -> set[str]:
        """Return those of the paths that the agent's git ignores."""
        stdin = nul_joined(paths)
        if not stdin:
            return set()
        ignored = await self._git.run(
            "check-ignore", "-z", "--stdin", "--no-index",
            repository=self._base.private, work_tree=self._workspace, reads=[self._workspace],
            stdin=stdin, codes=_IGNORED,
        )  # fmt: skip
        return {path for path in ignored.split("\0") if path}

    async def _update(self, flag: str, paths: Iterable[str]) -> None:
        stdin = nul_joined(paths)
        if stdin:
            await self._private("update-index", flag, "-z", "--stdin", stdin=stdin)

    async def _listed(self, *args: str) -> Iterable[str]:
        output = self._scratch / "listed"
        await run_privately(self._git, self._base.private, *args, output=output)
        return nul_separated(output)

    async def _private(self, *args: str, stdin: bytes | None = None) -> str:
        return await run_privately(self._git, self._base.private, *args, stdin=stdin)
