"""
Rights no wider than used: run after the end to end tests, on their cluster.

AGENTRUN_AUDITED names folders with audit logs of other clusters that count as well.

Compares what the chart's roles grant with what the API server's audit log shows to have been
asked for.
"""
