"""A row for every run ever seen, journals of events, blobs. Only the MCP server uses it."""
