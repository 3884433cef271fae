"""Tests of the gateway through its HTTP paths."""
