"""The ``agentrun`` command line, including the stdio bridge for MCP clients."""
