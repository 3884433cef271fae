"""
Cursors of lists of runs and agents.

A cursor contains the sort key of the last run of a page, so that runs created meanwhile do not
shift the following pages.
"""

import base64
import json

from agentrun.api.bounded_json import read
from agentrun.api.v1alpha1 import AgentRun

Place = tuple[int, str, str]
"""
A position in a list: a number, a name, a uid.

For lists of runs the number is the second at which the run was created, for lists of agents the
microsecond of a change.
"""


def place_of(run: AgentRun) -> Place:
    """Return the position of ``run`` in a list of runs."""
    created = run.created
    return (int(created.timestamp()) if created else 0, run.metadata.name, run.metadata.uid)


def encode_cursor(place: Place) -> str:
    """Make the cursor of what comes after ``place``."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def decode_cursor(cursor: str) -> Place:
    """Decode a cursor. Raises ValueError for anything that ``encode_cursor`` did not make."""
    try:
        text = base64.b64decode(cursor, altchars=b"-_", validate=True)
        created, name, uid = read(text, "The cursor")
        place = (created, name, uid)
    except (ValueError, TypeError) as error:
        raise ValueError(f"This is not a valid cursor: {cursor!r}") from error
    if [type(part) for part in place] != [int, str, str] or abs(place[0]) >= 2**63:
        raise ValueError(f"This is not a valid cursor: {cursor!r}")
    return place
