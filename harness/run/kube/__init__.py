"""Rung ``kube``: the request in a Kubernetes cluster, the operator, the load through a Service."""
