"""
Rights that the end-to-end tests cannot exercise, each with the reason for its grant.

An entry must be removed if its right is exercised, or is no longer granted.
"""

from dev.rights import Right

EXCEPTIONS: dict[Right, str] = {}
