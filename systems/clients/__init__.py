"""One module a client library, adapted to the ports of the workloads."""
