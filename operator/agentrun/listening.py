"""Sockets that are reached from other pods and from the kubelet, over IPv4 and IPv6."""

import errno
import socket

# What a node without IPv6, or with IPv6 switched off, answers.
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenError(OSError):
    """The port cannot be opened. The message names it."""


def listen(port: int, host: str = "") -> socket.socket:
    """
    Return a socket that listens on ``host``: an address, or by default all of both families.

    On a node without IPv6 the default is all addresses of IPv4. Raises ListenError.
    """
    try:
        return _listen_at(host, port) if host else _listen_everywhere(port)
    except OSError as error:
        where = f"{host} port {port}" if host else f"port {port}"
        raise ListenError(f"cannot listen on {where}: {error}") from error


def _listen_everywhere(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("0.0.0.0", port))


def _listen_at(host: str, port: int) -> socket.socket:
    (family, _, _, _, address), *_ = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return socket.create_server(address[:2], family=family)
