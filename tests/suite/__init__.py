"""Tests of suites of runs."""
