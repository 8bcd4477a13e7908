"""The handlers, asked through the wire format, on a broker with a disk but without a network."""
