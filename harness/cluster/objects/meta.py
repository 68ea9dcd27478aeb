"""Reading and writing object metadata."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

Json = Any
Obj = dict[str, Any]

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex "
    "used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)


LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    "or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def copied(value: Json) -> Json:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def meta(obj: Obj) -> Obj:
    """The metadata, made if absent."""
    found: Obj = obj.setdefault("metadata", {})
    return found


def name_of(obj: Obj) -> str:
    """``metadata.name``, empty if absent."""
    return str((obj.get("metadata") or {}).get("name") or "")


def namespace_of(obj: Obj) -> str:
    """``metadata.namespace``, empty if absent."""
    return str((obj.get("metadata") or {}).get("namespace") or "")


def uid_of(obj: Obj) -> str:
    """``metadata.uid``, empty if absent."""
    return str((obj.get("metadata") or {}).get("uid") or "")


def version_of(obj: Obj) -> int:
    """``metadata.resourceVersion`` as a number, 0 if absent."""
    return int((obj.get("metadata") or {}).get("resourceVersion") or 0)


def labels_of(obj: Obj) -> dict[str, str]:
    """``metadata.labels``, empty if absent."""
    return (obj.get("metadata") or {}).get("labels") or {}


def annotations_of(obj: Obj) -> dict[str, str]:
    """``metadata.annotations``, empty if absent."""
    return (obj.get("metadata") or {}).get("annotations") or {}


def deleting(obj: Obj) -> bool:
    """Whether the object has a deletion timestamp."""
    return bool((obj.get("metadata") or {}).get("deletionTimestamp"))


def owners_of(obj: Obj) -> list[Obj]:
    """Owner references."""
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference with ``controller: true``."""
    return next((owner for owner in owners_of(obj) if owner.get("controller")), None)


def controller_reference(owner: Obj) -> Obj:
    """The owner reference that makes ``owner`` the controller of another object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def digest(value: str, length: int = 8) -> str:
    """Hexadecimal hash of a text, the same on every machine."""
    return hashlib.blake2b(value.encode(), digest_size=16).hexdigest()[:length]


def made_uid(seed: str) -> str:
    """A version-4 shaped uid that depends on the seed only."""
    raw = bytearray(hashlib.blake2b(seed.encode(), digest_size=16).digest())
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(raw)))


def name_suffix(seed: str) -> str:
    """Five letters for ``generateName``."""
    number = int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest(), "big")
    letters = []
    for _ in range(5):
        number, index = divmod(number, len(_SUFFIX_LETTERS))
        letters.append(_SUFFIX_LETTERS[index])
    return "".join(letters)


def is_subdomain(name: str) -> bool:
    """Whether a name is an RFC 1123 subdomain of at most 253 characters."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Whether a text may be the value of a label."""
    return len(text) <= 63 and _LABEL_VALUE.fullmatch(text) is not None


def is_label(name: str) -> bool:
    """Whether a name is an RFC 1123 label of at most 63 characters."""
    return len(name) <= 63 and _LABEL.fullmatch(name) is not None


def time_text(unix_s: float) -> str:
    """RFC 3339 in whole seconds, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time_text(unix_s: float) -> str:
    """RFC 3339 in microseconds, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parsed_time(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def set_condition(conditions: list[Obj], wanted: Obj, now: str) -> list[Obj]:
    """Conditions with one of them set; the transition time moves only with the status."""
    found = next((item for item in conditions if item.get("type") == wanted["type"]), None)
    same = found is not None and found.get("status") == wanted["status"]
    since = found.get("lastTransitionTime", now) if same and found else now
    changed = {**wanted, "lastTransitionTime": since}
    if found is None:
        return [*conditions, changed]
    return [changed if item is found else item for item in conditions]


def condition(obj: Obj, kind: str) -> Obj | None:
    """A condition of ``status.conditions`` by type."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item.get("type") == kind), None)


def walk_strings(value: Json) -> Iterator[str]:
    """Every string inside JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from walk_strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk_strings(item)
