"""
Computes what the agent changed.

The workspace belongs to the agent, and nothing in it is trusted: its objects are fetched as from an
untrusted server, and its config, hooks, filters and nested repositories are ignored. All git work
happens in the runner's private repository. git only lists the files that changed; their content is
read from open folders, so that no link leads git to files that the agent may not see.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import Result
from agentrun.runner.folders import Folder
from agentrun.runner.git.git import UPLOAD_PACK, Git, GitError
from agentrun.runner.git.staging import Stage
from agentrun.runner.git.workspace import AGENT_HEAD, INDEX, Base

_MESSAGE = "Commit the agent's uncommitted changes\n\nRun: {run}\n"
_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short")
# For a patch, git holds both versions of a file and its result in memory.
_PATCHED_BYTES = 16 * 1024 * 1024
_SUBMODULE = re.compile(r"160000 [0-9a-f]+ 0\t([^\0]+)\0")


@dataclass(frozen=True)
class Author:
    """The author of the commit with the agent's uncommitted changes."""

    name: str
    email: str


def author_of(task: Task) -> Author:
    """Return the author of the run's commits."""
    git = task.profile.git
    return Author(git.author_name or "AgentRun", git.author_email or "agentrun@localhost")


@dataclass(frozen=True)
class Change:
    """The change of an agent: empty if ``head`` is the base."""

    base: Base
    head: str
    files_changed: int = 0
    insertions: int = 0
    deletions: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return self.head == self.base.commit

    def result(self, pushed: bool | None) -> Result:
        """Return the change in the form of a run's result."""
        return Result(
            branch=None if self.is_empty else self.base.branch,
            commit=None if self.is_empty else self.head,
            pushed=pushed,
            files_changed=self.files_changed,
            insertions=self.insertions,
            deletions=self.deletions,
        )


class Collector:
    """Collects the change of one workspace."""

    def __init__(self, git: Git, base: Base, workspace: Path) -> None:
        self._git = git
        self._base = base
        self._workspace = workspace

    async def collect(self, run: str, author: Author) -> Change:
        """Collect the agent's commits, and its uncommitted changes in one more commit."""
        head = await self._fetch_commits()
        tree = await self._write_tree(head)
        if tree != await self._private("rev-parse", f"{head}^{{tree}}"):
            head = await self._commit(tree, head, _MESSAGE.format(run=run), author)
        await self._private("update-ref", f"refs/heads/{self._base.branch}", head)
        return await self._measure(head)

    async def write_patch(self, change: Change, file: Path) -> list[str]:
        """Write the change as a patch, and return the paths that are too large for it."""
        large = await self._large_files(change)
        excluded = [f":(exclude,literal,top){path}" for path in large]
        args = ["diff", *_DIFF, "--binary", "--full-index", change.base.commit, change.head]
        args += ["--", ":(top)", *excluded]
        await self._git.run(*args, repository=self._base.private, output=file)
        return large

    async def push(self, change: Change) -> None:
        """Push the change's branch to the repository that the workspace was cloned from."""
        refspec = f"{change.head}:refs/heads/{self._base.branch}"
        args = ("push", "-q", "--no-verify", self._base.url, refspec)
        await self._git.transfer(*args, repository=self._base.private, seconds=300)

    async def _fetch_commits(self) -> str:
        """Fetch the agent's HEAD; return the base if the agent's repository is not usable."""
        args = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--update-shallow")
        place = (f"--upload-pack={UPLOAD_PACK}", str(self._workspace))
        try:
            await self._git.run(
                *args, *place, f"+HEAD:{AGENT_HEAD}",
                repository=self._base.private, reads=[self._workspace],
            )  # fmt: skip
        except GitError:
            return self._base.commit
        return await self._private("rev-parse", "--verify", f"{AGENT_HEAD}^{{commit}}")

    async def _write_tree(self, head: str) -> str:
        """Write the workspace's files as a tree; submodules stay unchanged."""
        await self._private("read-tree", head)
        # git would open a nested repository, with that repository's config.
        modules = _SUBMODULE.findall(await self._private("ls-files", "-s", "-z"))
        kept = await asyncio.to_thread(nested_repositories, self._workspace)
        excluded = [f":(exclude,literal,top){path}" for path in {*modules, *kept}]
        await self._remove(modules)
        await self._add(excluded)
        await self._restore(head, modules)
        return await self._private("write-tree")

    async def _add(self, excluded: list[str]) -> None:
        """Put the agent's modified, new and removed files into the index."""
        names = self._base.private / "agentrun-names"
        await self._git.run(
            "ls-files", "-z", "--deduplicate", "--modified", "--deleted", "--others",
            "--exclude-standard", "--", ":(top)", *excluded,
            repository=self._base.private, work_tree=self._workspace, reads=[self._workspace],
            env=self._env, output=names,
        )  # fmt: skip
        stage = Stage(self._git, self._base.private, self._env)
        with Folder.at(self._workspace) as workspace:
            await stage.add(workspace, names)
        names.unlink()

    async def _remove(self, paths: list[str]) -> None:
        if paths:
            stdin = "".join(f"{path}\0" for path in paths).encode(errors="surrogateescape")
            await self._private("update-index", "-z", "--force-remove", "--stdin", stdin=stdin)

    async def _restore(self, head: str, paths: list[str]) -> None:
        if not paths:
            return
        listed = await self._private("ls-tree", "-r", "-z", head)
        entries = [one for one in listed.split("\0") if one.startswith("160000 ")]
        stdin = "".join(f"{one}\0" for one in entries).encode(errors="surrogateescape")
        await self._private("update-index", "-z", "--index-info", stdin=stdin)

    async def _commit(self, tree: str, parent: str, message: str, author: Author) -> str:
        env = {
            "GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.email,
        }  # fmt: skip
        args = ("commit-tree", tree, "-p", parent, "-m", message)
        return (await self._git.run(*args, repository=self._base.private, env=env)).strip()

    async def _measure(self, head: str) -> Change:
        args = ("diff", *_DIFF, "--numstat", "-z", "--no-renames", self._base.commit, head)
        rows = [row.split("\t") for row in (await self._private(*args)).split("\0") if row]
        counts = [(int(added), int(gone)) for added, gone, _ in rows if added != "-"]
        return Change(
            base=self._base,
            head=head,
            files_changed=len(rows),
            insertions=sum(added for added, _ in counts),
            deletions=sum(gone for _, gone in counts),
        )

    async def _large_files(self, change: Change) -> list[str]:
        args = ("diff-tree", "-r", "-z", "--no-renames", change.base.commit, change.head)
        fields = (await self._private(*args)).split("\0")
        # Per file ":MODE MODE OBJECT OBJECT STATUS", then its path.
        changed = [
            (entry.split()[2:4], path)
            for entry, path in zip(fields[::2], fields[1::2], strict=False)
        ]
        objects = sorted({one for both, _ in changed for one in both})
        stdin = "".join(f"{one}\n" for one in objects).encode()
        form = "--batch-check=%(objectname) %(objectsize)"
        sizes = (
            line.split()
            for line in (await self._private("cat-file", form, stdin=stdin)).splitlines()
        )
        large = {one for one, size in sizes if size.isdecimal() and int(size) > _PATCHED_BYTES}
        return [path for both, path in changed if large.intersection(both)]

    @property
    def _env(self) -> dict[str, str]:
        return {"GIT_INDEX_FILE": str(self._base.private / INDEX)}

    async def _private(self, *args: str, stdin: bytes | None = None) -> str:
        """Run git on the private repository and its index alone, and return its stripped output."""
        # In an empty work tree, git reads .gitattributes from the index.
        empty = self._base.private / "agentrun-empty"
        empty.mkdir(exist_ok=True)
        printed = await self._git.run(
            *args, repository=self._base.private, work_tree=empty, env=self._env, stdin=stdin
        )
        return printed.strip("\n")


def nested_repositories(workspace: Path) -> list[str]:
    """List the folders below ``workspace`` that are repositories of their own."""
    found: list[str] = []
    stack = [""]
    with Folder.at(workspace) as opened:
        while stack:
            path = stack.pop()
            try:
                with opened.folder(path) as folder:
                    entries = list(folder.entries(path))
            except OSError:
                continue  # unreadable for the runner, and so for git, which then reports it
            if path and any(entry.name == ".git" for entry in entries):
                found.append(path)
                continue
            stack += [one.path for one in entries if one.is_folder and one.name != ".git"]
    return found
