"""Where the MCP server keeps everything, if nobody says where."""

STORE_URL = "sqlite:////data/agentrun.db"
BLOBS_URL = "file:///data/blobs"
