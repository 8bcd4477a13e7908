"""How fast histories are read and judged, and how fast others judge the same files.

`rows` says what is measured, on histories that `objects`, `transactions` and `logs` draw;
`measure` measures it, each time in a process of its own; `porcupine` measures the peer; `page`
prints docs/performance.md, and `command` is `assay bench checkers`.
"""
