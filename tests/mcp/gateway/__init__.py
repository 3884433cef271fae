"""The gateway, through its paths."""
