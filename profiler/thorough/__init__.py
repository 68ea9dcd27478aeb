"""The measured search: candidates are deployed, measured and compared."""
