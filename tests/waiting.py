"""The timeout of tests for what comes immediately or never."""

LATE_SECONDS = 180.0
"""
Seconds after which something that has not come is treated as missing.

Nothing that works takes nearly as long, even on a shared machine. A test that fails by this timeout
would have waited forever.
"""
