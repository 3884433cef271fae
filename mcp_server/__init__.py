"""The MCP server: MCP for clients, the gateway for runners. Only it accesses the store."""
