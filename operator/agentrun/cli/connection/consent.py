"""Asking a person whether they mean what was found in their place."""

import sys

import typer


async def ask_person(question: str) -> bool | None:
    """Ask a yes-or-no question at the terminal; None if nobody is there to be asked."""
    # Nothing else is under way yet that would have to go on while the person thinks.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    return typer.confirm(question)
