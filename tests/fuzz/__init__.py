"""Fuzzing by hand, and what it begins with."""
