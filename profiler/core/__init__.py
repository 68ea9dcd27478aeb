"""The search without any I/O: candidates, closed-form screen, Pareto set, pick."""
