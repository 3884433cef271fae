"""Remote agents by the A2A protocol, with the official SDK."""
