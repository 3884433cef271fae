"""What takes more memory or disk than it may."""

from dev.failures.row import Theme

THEME = Theme("Memory and disk", ())
