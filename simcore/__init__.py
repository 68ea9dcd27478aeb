"""Discrete-event simulator of LLM engines: no I/O, no wall clock, integer nanoseconds."""
