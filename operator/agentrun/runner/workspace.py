"""
Preparing the agent's working folder.

A git workspace gets an ordinary repository that the agent may do anything with. Beside it, out of
the agent's reach, the runner keeps a private one with the same beginning, from which it later
tells what has changed.
"""

import asyncio
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from agentrun.api.v1alpha1 import GitSource, Reason
from agentrun.runner.git import Git, GitError
from agentrun.runner.outcome import Failure

CLONE_SECONDS = 900.0
AGENT_HEAD = "refs/agentrun/agent"
"""The commit the agent was on, in the private repository once the change was collected."""
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_MISSING = re.compile(r"couldn't find remote ref|not our ref|no such remote ref", re.IGNORECASE)

_REACHED = "Is it up, and may runs reach it (networkPolicy.extraEgress of the chart)?"
_ADVICE = [
    (re.compile(pattern), advice)
    for pattern, advice in [
        (
            r"Authentication failed|could not read (Username|Password)|Permission denied"
            r"|returned error: 40[13]",
            "Does the Secret in the profile's git.credentialsSecret open this repository?",
        ),
        (r"Could not resolve host", f"Is the name right? {_REACHED}"),
        (
            r"Failed to connect|Connection refused|Connection timed out|Operation too slow"
            r"|took longer than",
            _REACHED,
        ),
        (
            r"not found|is this a git repository|does not appear to be a git repository",
            "Is the URL right, and does the Secret in the profile's git.credentialsSecret open it?",
        ),
    ]
]
"""What to do about what git says, in words that people can act on."""


@dataclass(frozen=True)
class Base:
    """Where the agent starts from."""

    url: str
    branch: str
    """The branch that the change is to be on."""
    commit: str
    private: Path
    """The runner's own repository."""

    @property
    def url_digest(self) -> str:
        """Tell the URL from others, without what is secret in it."""
        return digest_of(self.url)


def digest_of(url: str) -> str:
    """Digest a repository's URL."""
    return hashlib.sha256(url.encode()).hexdigest()


def branch_of(source: GitSource, run: str) -> str:
    """Name the branch that a run's change is to be on."""
    return source.branch or f"agentrun/{run}"


def working_folder(workspace: Path, cwd: str | None) -> Path:
    """Return the folder in which the agent is to work. Failure if it is outside the workspace."""
    if not cwd:
        return workspace
    inside = cwd.removeprefix("/workspace").lstrip("/") if cwd.startswith("/workspace") else cwd
    folder = (workspace / inside).resolve()
    if not folder.is_relative_to(workspace.resolve()):
        message = f"workspace.cwd {cwd!r} is outside the workspace: name a folder in /workspace."
        raise Failure(Reason.CLONE_FAILED, message)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def clone(git: Git, source: GitSource, run: str, workspace: Path, private: Path) -> Base:
    """Clone ``source`` into the workspace, on a branch of its own. Failure says what was wrong."""
    branch = branch_of(source, run)
    try:
        await git.run("check-ref-format", "--branch", branch)
    except GitError as error:
        message = f"workspace.git.branch {branch!r} is no name for a branch."
        raise Failure(Reason.CLONE_FAILED, message) from error
    if _holds_repository(workspace):
        # Its config and hooks are an earlier agent's, and git would obey them beside the runner's
        # credentials.
        message = (
            "The volume holds a repository already. Use an empty one, or leave workspace.git out"
            " to work on what is there."
        )
        raise Failure(Reason.CLONE_FAILED, message)
    try:
        await git.run("init", "-q", "-b", branch, str(workspace))
        await git.run("remote", "add", "origin", source.url, cwd=workspace)
        commit = await _fetch(git, source, workspace)
        await git.run("checkout", "-q", "-B", branch, commit, cwd=workspace, seconds=CLONE_SECONDS)
        await _copy(git, workspace, private, commit)
    except GitError as error:
        message = f"Cannot clone {source.url}: {error}"
        advice = next((words for said, words in _ADVICE if said.search(message)), "")
        raise Failure(Reason.CLONE_FAILED, f"{message}\n{advice}".strip()) from error
    return Base(source.url, branch, commit, private)


def _holds_repository(workspace: Path) -> bool:
    # A link that leads nowhere here may still lead somewhere later.
    return os.path.lexists(workspace / ".git")


async def _fetch(git: Git, source: GitSource, workspace: Path) -> str:
    depth = [f"--depth={source.depth}"] if source.depth else []
    ref = source.ref or "HEAD"
    if ref.startswith("-"):
        raise GitError(f"{ref!r} is no branch, tag or commit")
    try:
        await git.run(
            "fetch", "-q", "--no-tags", *depth, "origin", ref,
            cwd=workspace, seconds=CLONE_SECONDS,
        )  # fmt: skip
        found = "FETCH_HEAD"
    except GitError as error:
        if source.ref and _COMMIT.fullmatch(ref):
            found = await _fetch_all(git, ref, workspace)
        elif source.ref and _MISSING.search(str(error)):
            raise GitError(f"there is no branch, tag or commit {ref!r}") from error
        else:
            raise
    return (await git.run("rev-parse", "--verify", f"{found}^{{commit}}", cwd=workspace)).strip()


async def _fetch_all(git: Git, commit: str, workspace: Path) -> str:
    """Look for a commit that the server does not hand out by itself, or that is abbreviated."""
    await git.run("fetch", "-q", "origin", cwd=workspace, seconds=CLONE_SECONDS)
    try:
        await git.run("rev-parse", "--verify", "-q", f"{commit}^{{commit}}", cwd=workspace)
    except GitError as error:
        raise GitError(f"there is no branch, tag or commit {commit!r}") from error
    return commit


async def _copy(git: Git, workspace: Path, private: Path, commit: str) -> None:
    """Copy what was cloned, so that it is there whatever the agent does to its repository."""
    await git.run("init", "-q", "--bare", str(private))
    cloned = workspace / ".git"
    await asyncio.to_thread(
        shutil.copytree, cloned / "objects", private / "objects", dirs_exist_ok=True
    )
    if (cloned / "shallow").exists():
        shutil.copyfile(cloned / "shallow", private / "shallow")
    await git.run("update-ref", "refs/agentrun/base", commit, cwd=private)
