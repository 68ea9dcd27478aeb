"""What produces tokens: the simulator's cluster against the wall clock, or workers elsewhere."""
