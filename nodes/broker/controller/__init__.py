"""The controller: a replicated state machine over Raft that holds the cluster's metadata."""
