"""
A git server for tests and the demo: lighttpd in front of git's own http-backend.

``/demo.git`` is open to everybody, to read and to push. What is under ``/private/`` asks for
the user and password that a Secret brings: ``demo.git``, ``read-only.git`` that takes no push, and
``protected.git`` that takes pushes to one branch only. With GIT_TLS, a folder with
``tls.crt`` and ``tls.key``, the same is served over https. The repositories begin anew with each
start. ``dev.git.ssh`` serves them over ssh.
"""
