"""The controller: its state machine by itself, in a model of replication, and in a quorum."""
