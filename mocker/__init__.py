"""OpenAI-compatible server whose timing is the simulator's engine."""
