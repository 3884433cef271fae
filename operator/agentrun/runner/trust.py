"""
The certificate authorities that the runner trusts: its image's, and those of the profile.

Python and git take one file with all of them, so it is written before either starts.
"""

import ssl
from pathlib import Path

from agentrun.api import pod_layout
from agentrun.runner.layout import Layout


def write_roots(layout: Layout) -> None:
    """Write the file, if the profile adds certificate authorities."""
    if not layout.ca_file.is_file():
        return
    system = [Path(path) for path in pod_layout.SYSTEM_ROOTS]
    roots = next((path.read_bytes() for path in system if path.is_file()), b"")
    layout.roots.write_bytes(roots + b"\n" + layout.ca_file.read_bytes())


def is_bundle(layout: Layout) -> bool:
    """Whether the profile's certificate authorities are readable; true if it adds none."""
    if not layout.ca_file.is_file():
        return True
    try:
        text = layout.ca_file.read_text(encoding="utf-8")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        return False
    return "BEGIN CERTIFICATE" in text
