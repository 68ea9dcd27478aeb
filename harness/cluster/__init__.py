"""An embedded Kubernetes API server with a scheduler and local processes as pods.

A stand-in for a cluster on a laptop: ``kubectl`` and the official Python client work
against it. Nothing outside this package may depend on it; everybody else speaks the
Kubernetes protocol to a kubeconfig.
"""
