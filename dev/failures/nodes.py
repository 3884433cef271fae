"""What becomes of runs when their node does not answer."""

from dev.failures.row import Theme

THEME = Theme("The node", ())
