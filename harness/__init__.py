"""The engine: one test from operations to verdict. See ARCHITECTURE.md."""
