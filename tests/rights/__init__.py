"""
Rights no wider than used: run after the end to end tests, on their cluster.

AGENTRUN_AUDITED names the clusters whose audit logs count, where they are several.

Compares what the chart's roles grant with what the API server's audit log shows to have been
asked for.
"""
