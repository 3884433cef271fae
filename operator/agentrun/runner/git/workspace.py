"""
Preparation of the agent's working folder.

Everything is fetched into a private repository that the agent cannot access. The runner later
computes the change from it. The files are checked out from there, and finally the agent receives an
ordinary repository, which it may modify freely: the runner never runs git on that one.
"""

import asyncio
import hashlib
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agentrun.api.v1alpha1 import GitSource, Reason
from agentrun.runner import folders
from agentrun.runner.folders import Folder, OutsideFolderError
from agentrun.runner.git.git import Git, GitError
from agentrun.runner.outcome import AttemptError

CLONE_SECONDS = 900.0
AGENT_HEAD = "refs/agentrun/agent"
"""The commit of the agent's HEAD, in the private repository once the change was collected."""
BASE = "refs/agentrun/base"
"""The commit that the agent starts from, in the private repository."""
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""The tree without files, from which a run starts if the repository has no commit."""
INDEX = "agentrun-index"
"""The index of the files that are checked out, in the private repository."""
_MADE = "agentrun-made"
ELSEWHERE = "refs/agentrun/elsewhere"
"""
The agent's refs with commits that its HEAD does not contain, in the private repository once the
change was collected; below it their names without ``refs/``.
"""
_HANDED_ON = ("refs/remotes", "refs/tags")
_TRACKED = "+refs/heads/*:refs/remotes/origin/*"
_MOST_LISTED = 10
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_MISSING = re.compile(r"couldn't find remote ref|not our ref|no such remote ref", re.IGNORECASE)

_REACHED = "that it is up, and that runs may reach it (networkPolicy.extraEgress of the chart)."
_ADVICE = [
    (re.compile(pattern), advice)
    for pattern, advice in [
        (
            r"Authentication failed|could not read (Username|Password)|Permission denied"
            r"|returned error: 40[13]",
            "Hint: check that the Secret in the profile's git.credentialsSecret gives access to"
            " it.",
        ),
        (r"Could not resolve host", f"Hint: check the host name, {_REACHED}"),
        (
            r"Failed to connect|Connection refused|Connection timed out|Operation too slow"
            r"|took longer than",
            f"Hint: check {_REACHED}",
        ),
        (
            r"mismatched algorithms",
            "Hint: the repository uses SHA-256 object names, which AgentRun does not support: use"
            " one with SHA-1.",
        ),
        (
            r"fsck error|fsckObjects",
            "Hint: the repository contains objects that git rejects; git fsck in a clone lists"
            " them.",
        ),
        (
            r"not found|is this a git repository|does not appear to be a git repository",
            "Hint: check the URL, and that the Secret in the profile's git.credentialsSecret gives"
            " access to it.",
        ),
    ]
]
"""Advice for users for common errors of git."""

log = logging.getLogger(__name__)


# The repository's config and hooks are from an earlier agent.
_HELD = (
    "The volume already contains a repository. Use an empty volume, or omit workspace.git to"
    " work on that repository."
)


@dataclass(frozen=True)
class Base:
    """The repository, branch and commit that the agent starts from."""

    url: str
    branch: str
    """The branch for the change."""
    commit: str
    """``EMPTY_TREE`` if the repository was empty."""
    private: Path
    """The runner's private repository."""

    @property
    def is_unborn(self) -> bool:
        """Whether the repository was empty."""
        return self.commit == EMPTY_TREE

    @property
    def url_digest(self) -> str:
        """The digest that identifies the URL without exposing secrets in it."""
        return digest_of(self.url)


def digest_of(url: str) -> str:
    """Return the SHA-256 of a repository's URL, as hexadecimal digits."""
    return hashlib.sha256(url.encode()).hexdigest()


def branch_of(source: GitSource, run: str) -> str:
    """Return the name of the branch for a run's change."""
    return source.branch or f"agentrun/{run}"


def working_folder(workspace: Path, cwd: str | None) -> Path:
    """Return the agent's working folder. Raises AttemptError if it is outside the workspace."""
    if not cwd:
        return workspace
    inside = cwd.removeprefix("/workspace").lstrip("/") if cwd.startswith("/workspace") else cwd
    with Folder.at(workspace, make=True) as opened:
        try:
            if inside.startswith("/"):
                raise OutsideFolderError(inside)
            parts = opened.resolve(inside)
            with opened.folder("/".join(parts), make=True):
                return workspace.joinpath(*parts)
        except OutsideFolderError as error:
            message = (
                f"workspace.cwd {cwd!r} is outside the workspace: name a folder in /workspace."
            )
            raise AttemptError(Reason.CLONE_FAILED, message) from error
        except OSError as error:
            message = f"workspace.cwd {cwd!r} cannot be made: {error}. Name a folder in /workspace."
            raise AttemptError(Reason.CLONE_FAILED, message) from error


async def clone(
    git: Git, source: GitSource, run: str, workspace: Path, private: Path, is_pushed: bool = False
) -> Base:
    """
    Clone ``source`` into the workspace, on the run's branch. Raises AttemptError on failure.

    With ``is_pushed``, also if the server cannot have a branch of that name.
    """
    branch = branch_of(source, run)
    try:
        await git.run("check-ref-format", "--branch", branch)
    except GitError as error:
        message = f"workspace.git.branch {branch!r} is not a valid branch name."
        raise AttemptError(Reason.CLONE_FAILED, message) from error
    if _holds_repository(workspace):
        raise AttemptError(Reason.CLONE_FAILED, _HELD)
    try:
        await git.init(private)
        if is_pushed and (conflict := await _conflict(git, source.url, branch, private)):
            raise GitError(conflict)
        commit = await _fetch(git, source, private)
        await git.run("update-ref", BASE, commit, repository=private)
        await check_out(git, private, workspace, commit)
        base = Base(source.url, branch, commit, private)
        await hand_over(git, base, workspace, commit)
    except FileExistsError as error:
        raise AttemptError(Reason.CLONE_FAILED, _HELD) from error
    except (GitError, OSError) as error:
        message = f"Cannot clone {source.url}: {error}"
        advice = next((hint for pattern, hint in _ADVICE if pattern.search(message)), "")
        raise AttemptError(Reason.CLONE_FAILED, f"{message}\n{advice}".strip()) from error
    return base


async def run_privately(
    git: Git,
    private: Path,
    *args: str,
    index: Path | None = None,
    stdin: bytes | None = None,
    output: Path | None = None,
) -> str:
    """Run git on a private repository and its own or another index, and return its output."""
    # In an empty work tree, git reads .gitattributes from the index.
    empty = private / "agentrun-empty"
    empty.mkdir(exist_ok=True)
    printed = await git.run(
        *args, repository=private, work_tree=empty, env=index_env(index or private / INDEX),
        stdin=stdin, output=output,
    )  # fmt: skip
    return printed.strip("\n")


def index_env(index: Path) -> dict[str, str]:
    """Return the environment of git with an index."""
    return {"GIT_INDEX_FILE": str(index)}


async def check_out(git: Git, private: Path, workspace: Path, commit: str) -> None:
    """Write a commit's files into the workspace, and their entries into the private index."""
    (private / INDEX).unlink(missing_ok=True)
    await git.run(
        "read-tree", "-m", "-u", commit,
        repository=private, work_tree=workspace, writes=[workspace],
        env=index_env(private / INDEX), seconds=CLONE_SECONDS,
    )  # fmt: skip


async def hand_over(git: Git, base: Base, workspace: Path, head: str) -> None:
    """
    Create the agent's repository, on the base's branch at ``head``, with the private index.

    Its other branches are those that an earlier agent left. Raises FileExistsError if the workspace
    has a repository.
    """
    private, branch = base.private, base.branch
    made = private / _MADE
    shutil.rmtree(made, ignore_errors=True)
    await git.run("init", "-q", "-b", branch, str(made), writes=[private])
    own = made / ".git"
    await git.run("remote", "add", "origin", base.url, repository=own)
    form = "--format=%(objectname) %(refname)"
    refs = await git.run("for-each-ref", form, *_HANDED_ON, ELSEWHERE, repository=private)
    lines = [one.replace(f" {ELSEWHERE}/", " refs/", 1) for one in refs.splitlines()]
    # The branch of a repository without a commit does not exist yet.
    if head != EMPTY_TREE:
        ours = f" refs/heads/{branch}"
        lines = [f"{head}{ours}", *(one for one in lines if not one.endswith(ours))]
    text = "".join(f"{one}\n" for one in lines)
    (own / "packed-refs").write_text(text, encoding="utf-8", errors="surrogateescape")
    shutil.copyfile(private / INDEX, own / "index")
    if (private / "shallow").exists():
        shutil.copyfile(private / "shallow", own / "shallow")
    await asyncio.to_thread(_copy, own, private / "objects", workspace)
    shutil.rmtree(made)


def _copy(made: Path, objects: Path, workspace: Path) -> None:
    with Folder.at(workspace, make=True) as opened:
        opened.make_folder(".git")
        with opened.folder(".git") as target, Folder.at(made) as first, Folder.at(objects) as rest:
            folders.copy(rest, target.folder("objects", make=True))
            folders.copy(first, target)


def _holds_repository(workspace: Path) -> bool:
    with Folder.at(workspace, make=True) as opened:
        # A link whose target is missing here may have a target later.
        return ".git" in opened.names()


async def _fetch(git: Git, source: GitSource, private: Path) -> str:
    depth = [f"--depth={source.depth}"] if source.depth else []
    ref = source.ref or "HEAD"
    if ref.startswith("-"):
        raise GitError(f"{ref!r} is not a branch, tag or commit")
    origin = ["-c", f"remote.origin.url={source.url}", "-c", f"remote.origin.fetch={_TRACKED}"]
    try:
        await git.transfer(
            *origin, "fetch", "-q", "--no-tags", *depth, "origin", ref,
            repository=private, seconds=CLONE_SECONDS,
        )  # fmt: skip
        found = "FETCH_HEAD"
    except GitError as error:
        if source.ref and _COMMIT.fullmatch(ref):
            found = await _fetch_all(git, origin, ref, private)
        elif _MISSING.search(str(error)):
            return await _missing(git, source, private)
        else:
            raise
    return await _commit_of(git, found, private)


async def _missing(git: Git, source: GitSource, private: Path) -> str:
    """Return the empty tree if the repository has no commit. Raises GitError if it has branches."""
    branches = await _branches(git, source.url, private)
    if not branches:
        args = ("hash-object", "-t", "tree", "-w", "--stdin")
        await git.run(*args, repository=private, stdin=b"")
        return EMPTY_TREE
    named = ", ".join(branches[:_MOST_LISTED]) + (", …" if len(branches) > _MOST_LISTED else "")
    if source.ref:
        raise GitError(
            f"there is no branch, tag or commit {source.ref!r}. The branches are: {named}"
        )
    raise GitError(
        "its HEAD names a branch that does not exist: set workspace.git.ref to a branch, tag or"
        f" commit. The branches are: {named}"
    )


async def check_branch(git: Git, source: GitSource, run: str, private: Path) -> None:
    """
    Raise AttemptError if the server cannot have the branch of a run that clones nothing.

    If the server cannot be asked, the push reports the reason.
    """
    try:
        conflict = await _conflict(git, source.url, branch_of(source, run), private)
    except GitError as error:
        log.warning("The server's branches cannot be listed: %s", error)
        return
    if conflict:
        message = f"Cannot work on {source.url}: {conflict}"
        raise AttemptError(Reason.CLONE_FAILED, message)


async def _conflict(git: Git, url: str, branch: str, private: Path) -> str | None:
    """Describe the server's branch in whose place git would need a folder, or the other way."""
    parts = branch.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts))]
    taken = await _branches(git, url, private, *above, f"{branch}/*")
    if not taken:
        return None
    return (
        f"the change could not be pushed to {branch!r}, since there is a branch {taken[0]!r}:"
        " git allows only one of the two. Set another workspace.git.branch, or remove that one"
    )


async def _branches(git: Git, url: str, private: Path, *patterns: str) -> list[str]:
    """List the server's branches: all, or those that are named."""
    refs = [f"refs/heads/{one}" for one in patterns]
    args = ("ls-remote", "-q", "--heads", url, *refs)
    listed = await git.transfer(*args, repository=private, seconds=CLONE_SECONDS)
    return [line.partition("\trefs/heads/")[2] for line in listed.splitlines()]


async def _fetch_all(git: Git, origin: list[str], commit: str, private: Path) -> str:
    """Find a commit that the server does not serve by its id, or that is abbreviated."""
    await git.transfer(*origin, "fetch", "-q", "origin", repository=private, seconds=CLONE_SECONDS)
    try:
        await _commit_of(git, commit, private)
    except GitError as error:
        raise GitError(f"there is no branch, tag or commit {commit!r}") from error
    return commit


async def _commit_of(git: Git, name: str, private: Path) -> str:
    args = ("rev-parse", "--verify", "-q", f"{name}^{{commit}}")
    return (await git.run(*args, repository=private)).strip()
