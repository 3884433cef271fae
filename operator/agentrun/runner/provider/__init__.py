"""Access control for an agent's requests to the model provider with the profile's key."""
