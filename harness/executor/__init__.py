"""Runs many independent tasks: in this process, on a pool of processes, or on Ray."""
