"""Speaking to a remote agent by the A2A protocol, with the official SDK."""
