"""
Rights that the end to end tests cannot exercise, each with the reason why it is granted.

One that was used after all has to go from here, and one that is not granted any more too.
"""

from dev.rights import Right

EXCEPTIONS: dict[Right, str] = {}
