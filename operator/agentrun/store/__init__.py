"""
The store: a row for every run, journals of events, messages, blobs. Used by the MCP server only.
"""
