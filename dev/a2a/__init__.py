"""A remote A2A agent for tests, made with the official SDK: it does what its task says."""
