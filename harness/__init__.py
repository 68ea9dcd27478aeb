"""Runs scenarios on the rungs of the ladder, judges them and reports."""
