"""
The bridge from MCP over stdio to the MCP server's HTTP endpoint.

It implements JSON-RPC and the transport but knows no tools: everything that the server offers,
now or later, passes through unchanged.
"""
