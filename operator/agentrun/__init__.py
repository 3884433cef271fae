"""Running coding agents on Kubernetes, as AgentRun resources."""

__version__ = "0.1.0"
