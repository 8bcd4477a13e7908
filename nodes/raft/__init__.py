"""Raft, for every node that needs agreement; knows nothing of brokers or caches."""
