"""What others do to a run's pod."""

from dev.failures.row import Theme

THEME = Theme("The pod is taken away", ())
