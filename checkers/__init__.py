"""One module a property; pure functions of a history."""
