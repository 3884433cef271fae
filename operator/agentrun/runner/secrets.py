"""The values of the Secrets that the runner can read, and that must not leave the pod."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from agentrun.api.v1alpha1 import SecretKey
from agentrun.runner.layout import Layout

# These are not secret, and they are words that occur in ordinary text.
_PUBLIC = frozenset({"username", "known_hosts"})


def known_secrets(layout: Layout) -> list[str]:
    """Read all values. A missing file has none."""
    files = [
        layout.token,
        layout.provider_key,
        *(file for file in _files(layout.git_credentials) if file.name not in _PUBLIC),
        *_files(layout.redact),
    ]
    found_headers = remote_credentials(layout).values()
    found = [text for file in files if (text := _read(file))]
    # Of "Bearer TOKEN" the token is secret without its scheme, too.
    found += [word for text in found_headers for word in {text, *text.split()[-1:]}]
    return [*found, *secret_in_url(_read(layout.proxy_url)), *_known_to_mcp_servers(layout)]


def mcp_secret(layout: Layout, key: SecretKey) -> str | None:
    """Read the value of a Secret for an MCP server; None if it is not in the pod."""
    file = layout.mcp_secrets / key.name / key.key
    return _read(file) if file.is_file() else None


def secret_in_url(url: str) -> list[str]:
    """Return the password in a URL, as written and decoded; empty if there is none."""
    password = urlsplit(url).password
    return [password, unquote(password)] if password else []


def provider_key(layout: Layout) -> str:
    """Read the provider's key; empty if the profile names none."""
    return _read(layout.provider_key)


def remote_credentials(layout: Layout) -> dict[str, str]:
    """Read the headers for a remote agent; empty if the run has no credentials for it."""
    token = _read(layout.backend_secret / "auth_token")
    headers: dict[str, str] = json.loads(_read(layout.backend_secret / "headers") or "{}")
    return {**headers, **({"authorization": f"Bearer {token}"} if token else {})}


def remote_credentials_url(layout: Layout) -> str:
    """Read the URL of the agent that the credentials are for."""
    return _read(layout.backend_secret / "agent_url")


def remote_credentials_card(layout: Layout) -> str | None:
    """Read the path of that agent's card; None if the Secret does not contain it."""
    file = layout.backend_secret / "agent_card_path"
    return _read(file) if file.is_file() else None


def _known_to_mcp_servers(layout: Layout) -> Iterator[str]:
    for folder in _files(layout.mcp_secrets):
        for text in map(_read, _files(folder)):
            # Of "Bearer TOKEN" the token is secret without its scheme, too.
            yield from {text, *text.split()[-1:]}


def _files(folder: Path) -> Iterator[Path]:
    # A mounted Secret holds links to a hidden folder with the current version.
    if folder.is_dir():
        yield from (one for one in sorted(folder.iterdir()) if not one.name.startswith(".."))


def _read(file: Path) -> str:
    return file.read_text(errors="replace").strip() if file.is_file() else ""
