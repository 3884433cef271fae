"""
A remote agent for tests, made with the official SDK, that does what its task says.

It serves several agents (``server.KINDS``), each below a path of its own, and some that cannot be
worked with (``odd``).
"""
