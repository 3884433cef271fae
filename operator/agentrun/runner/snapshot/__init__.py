"""Snapshots of an agent's conversation and workspace, from which another pod can resume."""
