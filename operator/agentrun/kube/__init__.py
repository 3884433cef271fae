"""The client of the API server, for all programs of AgentRun."""
