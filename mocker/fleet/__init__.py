"""Frontend and workers as separate processes: the wire between them, routing, discovery."""
