"""Decisions of the operator: snapshot in, actions out; no I/O and no clock."""
