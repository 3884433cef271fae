"""
Computes what the agent changed.

The workspace belongs to the agent, and nothing in it is trusted: its objects are fetched as from an
untrusted server, and its config, hooks, filters and nested repositories are ignored. All git work
happens in the runner's private repository. git only lists the files that changed; their content is
read from open folders, so that no link leads git to files that the agent may not see.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agentrun.api.gateway import Task
from agentrun.api.v1alpha1 import Result
from agentrun.runner.git.agent_repository import AgentRepository
from agentrun.runner.git.elsewhere import Elsewhere
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.git.tree import TreeWriter
from agentrun.runner.git.workspace import AGENT_HEAD, EMPTY_TREE, Base, run_privately

log = logging.getLogger(__name__)

_MESSAGE = "Commit the agent's uncommitted changes\n\nRun: {run}\n"
_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short")
# For a patch, git holds both versions of a file and its result in memory.
_PATCHED_BYTES = 16 * 1024 * 1024
MAX_LEFT_OUT = 20
"""How much of what is left out a run's result lists."""
_LONGEST_NAMED = 300


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
    left_out: tuple[str, ...] = ()
    """The agent's work that the change does not contain, as ``WHAT: WHY``."""

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
            left_out=bounded(self.left_out) or None,
        )


class Collector:
    """Collects the change of one workspace. What it does not collect is named in the change."""

    def __init__(self, git: Git, base: Base, workspace: Path, home: Path | None = None) -> None:
        self._git = git
        self._base = base
        self._workspace = workspace
        self._agent = AgentRepository(git, base.private, workspace, home)

    async def collect(self, run: str, author: Author) -> Change:
        """Collect the agent's commits, and its uncommitted changes in one more commit."""
        head = await self._fetch_commits()
        elsewhere = Elsewhere(self._git, self._base.private, self._agent)
        commits = await self._other_commits(elsewhere, head)
        worktrees = elsewhere.worktrees
        writer = TreeWriter(self._git, self._base, self._workspace, self._agent, worktrees)
        tree = await writer.write(head)
        if tree != await self._private("rev-parse", f"{head}^{{tree}}"):
            head = await self._commit(tree, head, _MESSAGE.format(run=run), author)
        if head != EMPTY_TREE:
            await self._private("update-ref", f"refs/heads/{self._base.branch}", head)
        left_out = (*commits, *writer.left_out)
        return replace(await self._measure(head), left_out=left_out)

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
        try:
            await self._agent.fetch(f"+HEAD:{AGENT_HEAD}")
        except GitError:
            return self._base.commit
        return await self._private("rev-parse", "--verify", f"{AGENT_HEAD}^{{commit}}")

    async def _other_commits(self, elsewhere: Elsewhere, head: str) -> list[str]:
        """Keep and name the commits that ``head`` does not contain."""
        try:
            return await elsewhere.describe(self._base.commit, head)
        except (GitError, OSError, ValueError) as error:
            log.warning("The agent's other branches were not read: %s", error)
            return ["other branches: they cannot be read"]

    async def _commit(self, tree: str, parent: str, message: str, author: Author) -> str:
        env = {
            "GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.email,
        }  # fmt: skip
        parents = () if parent == EMPTY_TREE else ("-p", parent)
        args = ("commit-tree", tree, *parents, "-m", message)
        return (await self._git.run(*args, repository=self._base.private, env=env)).strip()

    async def _measure(self, head: str) -> Change:
        args = ("diff", *_DIFF, "--numstat", "-z", "--no-renames", self._base.commit, head)
        rows = [row.split("\t", 2) for row in (await self._private(*args)).split("\0") if row]
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

    async def _private(self, *args: str, stdin: bytes | None = None) -> str:
        return await run_privately(self._git, self._base.private, *args, stdin=stdin)


def bounded(left_out: Sequence[str], most: int = MAX_LEFT_OUT) -> list[str]:
    """Return up to ``most`` short texts, and one more with the number of the rest."""
    # A file's name may contain any bytes.
    texts = [one.encode(errors="replace").decode() for one in left_out[:most]]
    named = [f"{one[: _LONGEST_NAMED - 1]}…" if len(one) > _LONGEST_NAMED else one for one in texts]
    rest = len(left_out) - len(named)
    return [*named, f"and {rest} more"] if rest > 0 else named
