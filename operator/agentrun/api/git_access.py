"""Authorization of repositories and branches by a profile's git settings. Pure."""

from agentrun.api.repositories import is_branch_in, is_covered, is_secret_on_the_way
from agentrun.api.v1alpha1.profile import AgentProfileSpec
from agentrun.api.v1alpha1.run import GitSource


def opened(profile: AgentProfileSpec) -> list[str]:
    """Return the repositories of the credentials: those listed, and the profile's own."""
    own = profile.workspace.git if profile.workspace else None
    return [*profile.git.repositories, *([own.url] if own else [])]


def shown_to(profile: AgentProfileSpec) -> list[str]:
    """Return those of ``opened`` to which credentials may be sent: not in clear, unless allowed."""
    is_open = profile.git.plaintext_credentials
    return [one for one in opened(profile) if is_open or is_secret_on_the_way(one)]


def repository_refusal(profile: AgentProfileSpec, name: str, url: str) -> str | None:
    """Return why a run of profile ``name`` may not work on ``url``; None if it may."""
    if not profile.git.repositories or is_covered(url, opened(profile)):
        return None
    return (
        f"AgentProfile {name} does not allow repository {url}. It allows (git.repositories): "
        + ", ".join(opened(profile))
        + "."
    )


def branch_refusal(profile: AgentProfileSpec, name: str, source: GitSource) -> str | None:
    """Return why a change may not be pushed to the branch that a run names; None if it may."""
    is_pushed = profile.git.push and profile.git.credentials_secret is not None
    if not is_pushed or source.branch is None or is_branch_in(source.branch, profile.git.branches):
        return None
    return (
        f"AgentProfile {name} does not allow pushing to branch {source.branch}. It allows"
        f" (git.branches): {', '.join(profile.git.branches) or 'none'}."
    )


def push_refusal(profile: AgentProfileSpec, url: str, branch: str) -> str | None:
    """Return why a change may not be pushed to ``branch`` of ``url``; None if it may."""
    if not is_covered(url, opened(profile)):
        return (
            f"the profile's git credentials do not apply to {url}: they apply to the repositories"
            " in git.repositories"
        )
    if not is_covered(url, shown_to(profile)):
        return f"credentials are never sent to {url} in plain text: use https or ssh"
    if not is_branch_in(branch, profile.git.branches):
        allowed = ", ".join(profile.git.branches) or "none"
        return f"the profile's git.branches does not allow {branch}: {allowed}"
    return None
