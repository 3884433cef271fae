"""
A git server for tests and the demo: lighttpd in front of git's http-backend.

``/demo.git`` is open to everybody for fetches and pushes. Repositories under ``/private/`` require
the user and password of a Secret: ``demo.git``, ``read-only.git``, which rejects pushes, and
``protected.git``, which accepts pushes to one branch only. If GIT_TLS names a folder with
``tls.crt`` and ``tls.key``, the same is also served over https. At its start the
server creates the repositories that do not exist. ``dev.git.ssh`` serves them over ssh.
"""
