"""The gateway: runners send events, blobs and reports, and receive tasks, inputs and messages."""

from mcp_server.gateway.app import build_gateway

__all__ = ["build_gateway"]
