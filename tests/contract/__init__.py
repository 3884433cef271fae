"""The contract of the stores, tested against each implementation."""
