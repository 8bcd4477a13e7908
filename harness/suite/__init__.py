"""`assay suite FILE.toml`: runs and explorations, one after another, and what is expected of each.

jobs ──▶ running ──▶ outcome ──▶ command
the file  a child     was it as   lines, summary, JSON, JUnit, exit status
checked   process     expected?
"""
