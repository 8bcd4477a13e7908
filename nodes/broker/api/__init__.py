"""The requests that a broker answers, one module for each group of them.

A handler is `async (context, request, listener) → body of the answer`. What it refuses, it refuses
in the answer, with Kafka's code; an exception of its own closes the connection.
"""
