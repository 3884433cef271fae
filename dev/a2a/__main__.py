"""Serve every kind of agent. A2A_URL says where they are reached, A2A_PORT where they listen."""

import os

import uvicorn

from dev.a2a.server import make_all


def main() -> None:
    """Serve for ever."""
    port = int(os.environ.get("A2A_PORT", "8080"))
    url = os.environ.get("A2A_URL", f"http://127.0.0.1:{port}")
    uvicorn.run(make_all(url), host="0.0.0.0", port=port, log_level="warning")


if __name__ == "__main__":
    main()
