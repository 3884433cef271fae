"""The operator: creates pods for AgentRuns and reports the state of the pods in their status."""
