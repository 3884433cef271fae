"""The default locations of the MCP server's data."""

STORE_URL = "sqlite:////data/agentrun.db"
BLOBS_URL = "file:///data/blobs"
