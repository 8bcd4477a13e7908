"""Coordinators: what they keep, and that it is a function of their logs."""
