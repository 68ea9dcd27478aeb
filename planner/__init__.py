"""SLA autoscaler: a pure tick, a loop that remembers, and adapters to the worlds it scales."""
