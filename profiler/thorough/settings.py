"""The environment of the profiler, read once."""

from __future__ import annotations

import os

from profiler.thorough.options import Identity

DEFAULT_NAMESPACE = "dynamo-sla-profiler"


def child_environment() -> dict[str, str]:
    """What child processes inherit."""
    return dict(os.environ)


def identity_from_environment(name: str) -> Identity | None:
    """Who this search is for, when a cluster started it; ``None`` on a laptop.

    Args:
        name: of the request, where the environment names none.
    """
    found = os.environ.get("DGDR_NAME")
    if not found:
        return None
    return Identity(
        name=found or name,
        namespace=os.environ.get("DGDR_NAMESPACE") or DEFAULT_NAMESPACE,
        uid=os.environ.get("DGDR_UID", ""),
    )


def service_scheme() -> str:
    """SERVICE_PROTOCOL: the scheme of the frontend's Service."""
    return os.environ.get("SERVICE_PROTOCOL") or "http"
