"""Where runners deliver events, blobs and reports, and ask for work and answers."""

from mcp_server.gateway.app import build_gateway

__all__ = ["build_gateway"]
