"""Writing the page of all failures: ``python -m dev.failures FILE``."""

import sys
from pathlib import Path

from agentrun.api.v1alpha1 import Phase
from dev.failures import THEMES
from dev.failures.row import Failure, Theme

_HEAD = """\
# When a run fails

<!-- Generated from dev/failures by `make generate`; a test verifies each row. -->

Every run ends, and its status states why: `kubectl get runs` shows the reason, and
`kubectl describe run` and the tool `get_run` show the message. Unless stated otherwise, the run
becomes `Failed`. Names of settings such as `operator.stuckTimeoutSeconds` are values of the chart.

A run without a phase is not managed by any operator: check that its namespace is one of the
chart's `runNamespaces`, and that the operator is running. A run with the reason `SessionBusy` waits
for the run that its message names, which has its own time limits.

Time limits are measured by the API server's clock: the clock of a node or of the operator, even if
it is wrong by hours, ends no run early or late.
"""
_COLUMNS = "| What happened | Reason | Example message | When | What to do |"
_FOOT = """\

If a run ended in a way that this page does not list, read its transcript: in
`kubectl logs POD -c runner` while the pod is retained, and permanently in the run's events.
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


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
