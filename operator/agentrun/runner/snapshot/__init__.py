"""Keeping what an agent has said and made, so that another pod can go on from it."""
