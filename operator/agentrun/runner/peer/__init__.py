"""
The ``peer`` command, with which an agent finds and messages other agents from its shell.

An agent's image has a POSIX ``sh`` and little else, so the command is a script that passes its
arguments to the runner in a file and prints the file it gets back.
"""
