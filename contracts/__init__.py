"""Shared vocabulary of the project: plain data, units, errors and ports.

Everything here depends on the standard library and numpy only, so that every
other package can speak the same language without knowing each other.
"""
