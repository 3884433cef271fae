"""The Agent Client Protocol (ACP), client side."""
