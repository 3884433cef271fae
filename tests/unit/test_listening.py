"""What listens for other pods is reached over IPv4 and over IPv6."""

import errno
import socket
from typing import Any

import pytest

from agentrun.listening import ListenError, listen


def is_reached(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=5):
            return True
    except ConnectionRefusedError:
        return False


def reached(listener: socket.socket) -> list[str]:
    port = listener.getsockname()[1]
    return [one for one in ("127.0.0.1", "::1") if is_reached(one, port)]


def test_all_addresses_of_both_families_are_served() -> None:
    with listen(0) as listener:
        assert reached(listener) == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_is_served_alone(host: str) -> None:
    with listen(0, host) as listener:
        assert reached(listener) == [host]


def test_a_node_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(0) as listener:
        assert reached(listener) == ["127.0.0.1"]


def test_a_node_that_switched_ipv6_off_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def refusing(address: Any, **more: Any) -> socket.socket:
        if more.get("family") == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create(address, **more)

    monkeypatch.setattr(socket, "create_server", refusing)
    with listen(0) as listener:
        assert reached(listener) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_taken_port_is_named(host: str) -> None:
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ListenError, match=rf"cannot listen on .*port {port}: .*in use"):
            listen(port, host)
