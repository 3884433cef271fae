"""
Making a conversation of the Gemini CLI one that it finds again.

It writes a conversation into a file named after the minute and the session. When it loads one, it
begins another such file first: in the same minute, over the conversation itself, which is then
lost; later, beside it, and the next time it takes the empty one.
"""

import os
from pathlib import Path

_LONG_AGO = "2000-01-01T00-00"


def keep_conversation(home: Path, session_id: str) -> None:
    """Leave one file of the session, named after a minute that is over, and none of others."""
    short = session_id[:8]
    found = [one for one in home.glob(".gemini/tmp/*/chats/session-*.jsonl") if _is_own(one, home)]
    of_session = [one for one in found if one.stem.endswith(f"-{short}")]
    if not of_session:
        return  # The agent will say that it does not find it.
    kept = max(of_session, key=lambda one: one.stat().st_size)
    for one in found:
        if one != kept:
            one.unlink()
    kept.rename(kept.with_name(f"session-{_LONG_AGO}-{short}.jsonl"))


def _is_own(path: Path, home: Path) -> bool:
    """Whether it is a file of this home: an agent may have made links of its folders."""
    return os.path.realpath(path) == str(Path(os.path.realpath(home)) / path.relative_to(home))
