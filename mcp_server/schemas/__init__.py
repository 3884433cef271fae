"""What the tools take and return: the models, their limits, and how a row becomes a result."""
