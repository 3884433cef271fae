"""The MCP server for clients, on port 8080."""
