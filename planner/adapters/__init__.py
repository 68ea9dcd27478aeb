"""Where the planner meets a cluster; adapters do not know each other."""
