"""The pod of a run: its manifest, and what its status says."""
