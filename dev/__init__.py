"""
The development tools: a local cluster, its images, and a scripted model.

Run as ``python -m dev COMMAND``. Everything rests on the standard library alone, so that it
works before any virtual environment exists. Nothing of the product imports it.
"""
