"""The runner: drives the agent of one attempt of one run, and sends its events."""
