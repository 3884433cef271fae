"""The page for users, ``docs/failures.md``, as it follows from the rows."""

from agentrun.api.v1alpha1 import Phase
from dev.failures import THEMES
from dev.failures.row import Failure, Theme

_HEAD = """\
# When a run goes wrong

<!-- Generated from dev/failures by `make generate`; a test holds each row to what it says. -->

Every run ends, and says why: `kubectl get runs` shows the reason, `kubectl describe run` and the
tool `get_run` the message. Where nothing else is said, the run becomes `Failed`. Names of settings
such as `operator.stuckTimeoutSeconds` are values of the chart.

A run that shows no phase at all is seen by no operator: is its namespace one of the chart's
`runNamespaces`, and does the operator run? A run that waits with `SessionBusy` waits for the run
that its message names, which has bounds of its own.

Bounds are counted by the API server's clock: a node or an operator whose clock is wrong, by hours
even, ends no run early or late.
"""
_COLUMNS = "| what happened | reason | message, for example | how soon | what to do |"
_FOOT = """\

What to do next: if a run ended in another way than this page says, its transcript is in
`kubectl logs POD -c runner` while the pod is kept, and in its events for good.
"""


def page() -> str:
    """Write the page."""
    return "\n".join([_HEAD, *(_section(theme) for theme in THEMES if theme.rows)]) + _FOOT


def _section(theme: Theme) -> str:
    rows = [_row(row) for row in theme.rows]
    return "\n".join([f"## {theme.title}", "", _COLUMNS, "|---|---|---|---|---|", *rows, ""])


def _row(row: Failure) -> str:
    phase = "" if row.phase is Phase.FAILED else f" ({row.phase})"
    cells = (row.happened, f"`{row.reason}`{phase}", row.shows, row.bound, row.remedy)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
