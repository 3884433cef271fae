"""
Every way in which a run is known to go wrong, and what its users see then.

The one source of ``docs/failures.md`` (``make generate``) and of the tests: each row has a test
that is marked ``@pytest.mark.failure(key)`` and holds the run to what is promised here. A module
holds the rows of one theme, in the order of the page.
"""

from dev.failures import (
    admission,
    agent,
    asked,
    disk,
    disruption,
    nodes,
    profile,
    provider,
    remote,
    result,
    starting,
    stopped,
    workspace,
)
from dev.failures.row import Failure, Theme

THEMES: tuple[Theme, ...] = (
    asked.THEME,
    admission.THEME,
    starting.THEME,
    workspace.THEME,
    profile.THEME,
    agent.THEME,
    provider.THEME,
    remote.THEME,
    result.THEME,
    stopped.THEME,
    disk.THEME,
    disruption.THEME,
    nodes.THEME,
)
FAILURES: tuple[Failure, ...] = tuple(row for theme in THEMES for row in theme.rows)


def find(key: str) -> Failure:
    """Find the row of that key; KeyError if there is none."""
    return {row.key: row for row in FAILURES}[key]
