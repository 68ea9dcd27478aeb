"""Controllers: what a cluster does by itself with the objects in its store."""
