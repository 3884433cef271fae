"""What a run gets from its profile, and what the profile refuses it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRunSpec, Timeouts, Workspace


def workspace_of(run: AgentRunSpec, profile: AgentProfileSpec) -> Workspace:
    """Return the run's workspace, else its profile's, else an empty one."""
    return run.workspace or profile.workspace or Workspace()


@dataclass(frozen=True)
class RunTimeouts:
    """The effective timeouts of one run, in seconds."""

    deadline: int
    input: int
    grace: int
    idle: int


def timeouts_of(
    run: AgentRunSpec, profile: AgentProfileSpec | None, defaults: RunTimeouts
) -> RunTimeouts:
    """
    Return the effective timeouts of a run.

    A run may request a shorter timeout than its profile allows, never a longer one. If neither
    sets one, the default applies.
    """
    asked = run.timeouts or Timeouts()
    granted = profile.timeouts if profile else Timeouts()
    return RunTimeouts(
        deadline=_lesser(
            asked.active_deadline_seconds, granted.active_deadline_seconds, defaults.deadline
        ),
        input=_lesser(asked.input_timeout_seconds, granted.input_timeout_seconds, defaults.input),
        grace=_lesser(
            asked.termination_grace_period_seconds,
            granted.termination_grace_period_seconds,
            defaults.grace,
        ),
        idle=_lesser(asked.idle_timeout_seconds, granted.idle_timeout_seconds, defaults.idle),
    )


def _lesser(asked: int | None, granted: int | None, default: int) -> int:
    """Return the requested value, at most the granted one; the default if neither is set."""
    if asked is None:
        return default if granted is None else granted
    return asked if granted is None else min(asked, granted)


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
