"""The command line ``agentrun``, and in it the bridge for MCP clients on a laptop."""
