"""
The development tools: a local cluster, its images, and a scripted model.

Run as ``python -m dev COMMAND``. The commands depend only on the standard library, so that they
work before any virtual environment exists. The product does not import this package.
"""
