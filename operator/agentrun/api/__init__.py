"""The shared API types: the kinds, the events, the messages, the runner's protocol."""
