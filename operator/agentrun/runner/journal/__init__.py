"""The events of an attempt, redacted and limited in size, on their way to the gateway."""
