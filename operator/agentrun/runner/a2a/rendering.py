"""Rendering of the parts of messages and artifacts as text. Pure."""

from itertools import groupby
from typing import Any

from agentrun.api.messages import render_data, render_file

Raw = dict[str, Any]

DATA_BOUND = 64 * 1024
"""The limit for data and files, in characters: data as text can be much larger."""


def text_of(parts: list[Raw]) -> str:
    """Join the text parts unchanged."""
    return "".join(part["text"] for part in parts if "text" in part)


def render(parts: list[Raw]) -> str:
    """Render texts unchanged, data as JSON, and files by their names, never by their bytes."""
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
    """Render an artifact: its text parts, or all parts if there is no text."""
    return text_of(parts) or render(parts)


def _render(part: Raw, room: int) -> str:
    if "data" in part:
        return render_data(part["data"], room)
    if "url" in part or "raw" in part:
        url = part.get("url", "")
        # A data URL contains the bytes themselves.
        where = None if url.startswith("data:") else url
        return render_file(where, part.get("filename"))[:room]
    return ""
