"""The planner's benchmark: policies side by side on the same workloads in the simulator."""
