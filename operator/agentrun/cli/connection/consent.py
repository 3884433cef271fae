"""Asking the user to confirm a discovered MCP server."""

import sys

import typer


async def ask_person(question: str) -> bool | None:
    """Ask a yes-or-no question at the terminal; None if the session is not interactive."""
    # Blocking is fine here: nothing else runs yet.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return typer.confirm(question)
