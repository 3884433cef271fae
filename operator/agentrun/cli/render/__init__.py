"""How answers look to a person. Nothing here asks the MCP server for anything."""
