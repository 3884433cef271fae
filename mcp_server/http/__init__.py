"""What every request passes through: limits, the check of its host, authorization."""
