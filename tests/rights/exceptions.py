"""
Rights that the end to end tests cannot exercise, each with the reason why it is granted.

One that was used after all has to go from here, and one that is not granted any more too.
"""

from dev.rights import Right

EXCEPTIONS: dict[Right, str] = {
    Right("mcp", "", "secrets", "create"): (
        "keeps credentials for remote agents; no end to end test gives a remote agent any yet"
    ),
}
