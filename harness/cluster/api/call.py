"""Who asks, and with which options."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Query options of writes.

    Attributes:
        dry_run: do everything but store.
        field_validation: ``Strict``, ``Warn`` or ``Ignore``.
        manager: field manager; empty leaves ``managedFields`` alone.
        force: an apply takes over fields of others.
    """

    dry_run: bool = False
    field_validation: str = "Warn"
    manager: str = ""
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        user: name of the user, for messages.
        warnings: filled while the request is handled.
    """

    user: str = "system:controller"
    options: Options = field(default_factory=Options)
    warnings: list[str] = field(default_factory=list)
