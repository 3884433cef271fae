"""The runner: drives the agent of one attempt of one run, and ships what it says."""
