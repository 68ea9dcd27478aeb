"""The operator: watches a Kubernetes API and carries out what :mod:`dgdr.reconcile` decides."""
