"""Follows the cluster: runs are recorded in the store, other kinds are cached."""
