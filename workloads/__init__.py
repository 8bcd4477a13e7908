"""One module a workload: operations, generator, and which checkers judge it."""
