"""
The command ``peer``, by which an agent finds and writes to others from its shell.

An agent's image has a POSIX ``sh`` and little else, so the command is a script that hands its
arguments to the runner as a file and shows the file it gets back.
"""
