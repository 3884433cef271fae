"""Tests of the store's pure parts."""
