"""Counts of a server, and their exposition under the names of the engine that it stands for."""
