"""Saying the parts of messages and artifacts in words. Pure."""

from itertools import groupby
from typing import Any

from agentrun.api.messages import render_data, render_file

Raw = dict[str, Any]

DATA_BOUND = 64 * 1024
"""How many characters data and files may take: as text, data can be larger by far."""


def text_of(parts: list[Raw]) -> str:
    """Join the texts, as they were said."""
    return "".join(part["text"] for part in parts if "text" in part)


def render(parts: list[Raw]) -> str:
    """Say texts as they were said, data as JSON, and files by their names: never their bytes."""
    room, said = DATA_BOUND, list[str]()
    for is_text, group in groupby(parts, lambda part: "text" in part):
        if is_text:
            said.append(text_of(list(group)))
            continue
        for part in group:
            if room > 0:
                said.append(_render(part, room))
                room -= len(said[-1])
    return "\n\n".join(text for text in said if text)


def render_made(parts: list[Raw]) -> str:
    """Say what was made: the texts, or all of it where there is no text."""
    return text_of(parts) or render(parts)


def _render(part: Raw, room: int) -> str:
    if "data" in part:
        return render_data(part["data"], room)
    if "url" in part or "raw" in part:
        url = part.get("url", "")
        # A data URL is the bytes themselves.
        where = None if url.startswith("data:") else url
        return render_file(where, part.get("filename"))[:room]
    return ""
