"""How long tests wait for what comes at once, or never."""

LATE_SECONDS = 180.0
"""
Seconds after which something that has not come is taken for missing.

Nothing that works takes nearly as long, also on a machine that others use; and a test that fails by
it would have waited for ever.
"""
