"""Speaking the Agent Client Protocol."""
