"""What a run gets from its profile, and what the profile refuses it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, Workspace


def workspace_of(run: AgentRunSpec, profile: AgentProfileSpec) -> Workspace:
    """Return the run's workspace, else its profile's, else an empty one."""
    return run.workspace or profile.workspace or Workspace()


@dataclass(frozen=True)
class Refusal:
    """A request that a profile does not allow. Each program words it for its users."""

    field: Literal["backend", "model", "volume"]
    asked: str
    allowed: Sequence[str]
    """What the profile allows instead."""


def profile_refusal(
    profile: AgentProfileSpec, backend: str, model: str | None, volume: str | None
) -> Refusal | None:
    """
    Return the first of the values that the profile does not allow; None if it allows all.

    ``agentrun.api.git_access`` decides on repositories.
    """
    models = profile.models.allowed
    if backend != profile.backend:
        return Refusal("backend", backend, [profile.backend])
    if model and models and model not in models:
        return Refusal("model", model, models)
    if volume and volume not in profile.volumes:
        return Refusal("volume", volume, profile.volumes)
    return None
