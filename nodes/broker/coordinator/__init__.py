"""What brokers coordinate for clients: groups and transactions, kept in internal topics."""
