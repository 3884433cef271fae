"""
Making a conversation of the Gemini CLI one that it finds again.

It writes a conversation into a file named after the minute and the session. When it loads one, it
begins another such file first: in the same minute, over the conversation itself, which is then
lost; later, beside it, and the next time it takes the empty one.
"""

import fnmatch
from collections.abc import Iterator

from agentrun.runner.folders import Folder

_LONG_AGO = "2000-01-01T00-00"
_CHATS = ".gemini/tmp"


def keep_conversation(home: Folder, session_id: str) -> None:
    """Leave one file of the session, named after a minute that is over, and none of others."""
    short = session_id[:8]
    found = list(_conversations(home))
    of_session = [one for one in found if one[1].endswith(f"-{short}.jsonl")]
    if not of_session:
        return  # The agent will say that it does not find it.
    kept = max(of_session, key=lambda one: home.status("/".join(one)).st_size)
    for one in found:
        if one != kept:
            home.remove("/".join(one))
    with home.folder(kept[0]) as folder:
        folder.rename(kept[1], f"session-{_LONG_AGO}-{short}.jsonl")


def _conversations(home: Folder) -> Iterator[tuple[str, str]]:
    """List folder and name of each; an agent may have made links of its folders."""
    try:
        with home.folder(_CHATS) as folder:
            projects = folder.names()
    except OSError:
        return
    for project in projects:
        path = f"{_CHATS}/{project}/chats"
        try:
            with home.folder(path) as chats:
                names = fnmatch.filter(chats.names(), "session-*.jsonl")
        except OSError:
            continue
        yield from ((path, name) for name in names)
