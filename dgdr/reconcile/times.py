"""Instants as Kubernetes writes them; nothing here reads a clock."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(unix_s: float) -> str:
    """Seconds since 1970 as ``2026-01-01T00:00:00Z``."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_text(unix_s: float) -> str:
    """Seconds since 1970 with six decimals, as Leases have them."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_unix_s(text: object) -> float | None:
    """Seconds since 1970, None for what is no instant."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None
