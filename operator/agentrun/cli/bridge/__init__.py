"""
The bridge: MCP over stdin and stdout on one side, the MCP server's HTTP endpoint on the other.

It knows JSON-RPC and the transport, not the tools: whatever the server offers, now or later,
passes through as it is.
"""
