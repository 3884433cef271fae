"""The MCP server: MCP for clients, the gateway for runners; the only part with the store."""
