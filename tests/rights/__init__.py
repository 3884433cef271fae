"""
Rights no wider than used. Run after the end-to-end tests, on their cluster.

Compares the rights that the chart's roles grant with the requests in the API server's audit log.
AGENTRUN_AUDITED names folders with audit logs of other clusters, which count too.
"""
