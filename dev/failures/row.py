"""What is said of each way to go wrong."""

from dataclasses import dataclass

from agentrun.api.v1alpha1 import Phase, Reason


@dataclass(frozen=True)
class Failure:
    """One way to go wrong."""

    key: str
    """How tests name it."""
    happened: str
    """What happened, in a few words."""
    reason: Reason
    """What ``status.reason`` says."""
    message: str
    """A regular expression for ``status.message``."""
    shows: str
    """The message as a user reads it, with names of an example."""
    bound: str
    """How long it takes at most, in the words of the chart's values."""
    remedy: str
    """What to do."""
    phase: Phase = Phase.FAILED
    """Where the run ends, or stays until it can go on."""


@dataclass(frozen=True)
class Theme:
    """Rows that belong together."""

    title: str
    rows: tuple[Failure, ...]
