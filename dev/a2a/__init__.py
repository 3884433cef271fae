"""
A remote A2A agent for tests, built with the official SDK, that executes the steps in its task.

It serves several agents (``server.KINDS``), each below its own path, and some faulty ones
(``odd``).
"""
