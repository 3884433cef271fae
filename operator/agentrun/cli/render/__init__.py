"""Rendering of responses for people. Nothing here sends requests."""
