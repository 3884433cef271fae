"""
Preparation of a restored Gemini CLI conversation, so that the CLI finds it again.

The CLI writes a conversation into a file named after the minute and the session. When it loads one,
it first creates another such file: in the same minute, it overwrites the conversation, which is
then lost; later, the new file is beside it, and the next load uses the empty one.
"""

import fnmatch
from collections.abc import Iterator

from agentrun.runner.folders import Folder

_LONG_AGO = "2000-01-01T00-00"
_CHATS = ".gemini/tmp"


def keep_conversation(home: Folder, session_id: str) -> None:
    """Retain one file of the session, renamed to a past minute, and remove all others."""
    short = session_id[:8]
    found = list(_conversations(home))
    of_session = [one for one in found if one[1].endswith(f"-{short}.jsonl")]
    if not of_session:
        return  # The agent itself reports that the session is missing.
    kept = max(of_session, key=lambda one: home.status("/".join(one)).st_size)
    for one in found:
        if one != kept:
            home.remove("/".join(one))
    with home.folder(kept[0]) as folder:
        folder.rename(kept[1], f"session-{_LONG_AGO}-{short}.jsonl")


def _conversations(home: Folder) -> Iterator[tuple[str, str]]:
    """
    Yield each conversation's folder and name; folders that are links of the agent are skipped.
    """
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
