"""Thousands of short simulated runs: explore, replay, shrink.

drawing    seed → everything that a run is told, one named stream a knob (swarm testing)
once       one seed → what came of it
campaign   many seeds on several processes, the first failures at once, a summary
replay     a stored run again: is it the same?
tape       the operations and faults of a history, with their times, as a generator
shrinking  a smaller tape that still fails
"""
