"""The types every part agrees on: the kinds, the events, the messages, the runner's protocol."""
