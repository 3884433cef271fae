"""The rows of the failure reference."""

from dataclasses import dataclass

from agentrun.api.v1alpha1 import Phase, Reason


@dataclass(frozen=True)
class Failure:
    """One way in which a run can fail."""

    key: str
    """The key that tests use."""
    happened: str
    """A short description of what happened."""
    reason: Reason
    """The value of ``status.reason``."""
    message: str
    """A regular expression that ``status.message`` matches."""
    shows: str
    """An example of the message."""
    bound: str
    """When the run fails at the latest, in terms of the chart's values."""
    remedy: str
    """What to do."""
    phase: Phase = Phase.FAILED
    """The phase in which the run ends, or waits until it can continue."""


@dataclass(frozen=True)
class Theme:
    """A group of related rows."""

    title: str
    rows: tuple[Failure, ...]
