"""Tests of exploration, replay and shrinking."""
