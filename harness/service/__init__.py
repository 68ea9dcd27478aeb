"""The benchmarking service: a queue of runs, their results, and pages to look at them."""
