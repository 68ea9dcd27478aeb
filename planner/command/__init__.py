"""What ``python -m planner`` can do; adapters, clocks and files are put together here."""
