"""Serve every kind of agent. A2A_URL is their public URL, A2A_PORT the port to listen on."""

import os

import uvicorn

from dev.a2a.server import make_all


def main() -> None:
    """Serve until killed."""
    port = int(os.environ.get("A2A_PORT", "8080"))
    url = os.environ.get("A2A_URL", f"http://127.0.0.1:{port}")
    uvicorn.run(make_all(url), host="0.0.0.0", port=port, log_level="warning")


if __name__ == "__main__":
    main()
