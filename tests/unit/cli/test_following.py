"""The position of a follower belongs to one run."""

from typing import Any, cast

from agentrun.cli.answers import Page
from agentrun.cli.client import Tools
from agentrun.cli.following import Cursor


class Scripted:
    """Tools that answer polls with these pages, and record for which run and position."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self._pages = iter(pages)
        self.asked: list[tuple[str, int]] = []

    async def poll_events(self, run_id: str, after_seq: int, **_: Any) -> Page:
        self.asked.append((run_id, after_seq))
        return Page.model_validate(next(self._pages))


def a_page(status: str, *seqs: int, **more: Any) -> dict[str, Any]:
    events = [{"seq": seq, "type": "reasoning"} for seq in seqs]
    return {"run_id": "r", "status": status, "events": events, "next_after_seq": 2, **more}


async def test_a_run_is_followed_by_its_uid_once_that_is_known() -> None:
    tools = Scripted(a_page("running", 1, 2, uid="u"), a_page("completed", uid="u"))
    cursor = Cursor("r")
    assert len([page async for page in cursor.pages(cast(Tools, tools))]) == 2
    assert tools.asked == [("r", 0), ("r@u", 2)]
    assert cursor.run_id == "r"


async def test_a_server_that_gives_no_uid_is_asked_by_name() -> None:
    tools = Scripted(a_page("running", 1, 2), a_page("completed"))
    assert len([page async for page in Cursor("r").pages(cast(Tools, tools))]) == 2
    assert tools.asked == [("r", 0), ("r", 2)]
