"""The page of all events knows every type there is."""

import re

from agentrun.api.events import EventType
from dev import paths

PAGE = (paths.CHECKOUT / "docs/events.md").read_text(encoding="utf-8")


def test_every_type_of_event_has_a_row() -> None:
    rows = re.findall(r"^\| `([a-z_]+)`[^|]*\|", PAGE, re.MULTILINE)
    assert set(rows) == set(EventType)
