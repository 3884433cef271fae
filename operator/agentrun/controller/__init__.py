"""The operator: it turns AgentRuns into pods, and what happens to the pods into status."""
