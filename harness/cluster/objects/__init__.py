"""Kubernetes objects as JSON: metadata, errors, selectors, quantities, paths. Pure."""
