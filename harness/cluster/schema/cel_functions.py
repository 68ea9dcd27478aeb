"""Functions that Kubernetes adds to CEL: lists, regular expressions, checks of texts.

Semantics: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-cel-libraries
(checks of a few were compared with a real API server). Values that are neither CEL's nor
JSON's (``quantity()``, ``url()``, ``ip()`` and what can be called on them) are not served;
their predicates are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any
from urllib.parse import urlsplit

from celpy import celtypes
from celpy.evaluation import CELEvalError

_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")

Value = Any


def _is_sorted(items: Value) -> Value:
    return celtypes.BoolType(all(left <= right for left, right in pairwise(items)))


def _sum(items: Value) -> Value:
    return reduce(add, items) if items else celtypes.IntType(0)


def _most(items: Value) -> Value:
    if not items:
        raise CELEvalError("max called on empty list")
    return max(items)


def _index_of(items: Value, wanted: Value, start: int = 0) -> Value:
    if isinstance(items, str):
        return celtypes.IntType(items.find(wanted, start))
    found = (index for index, item in enumerate(items) if item == wanted)
    return celtypes.IntType(next(found, -1))


def _last_index_of(items: Value, wanted: Value) -> Value:
    if isinstance(items, str):
        return celtypes.IntType(items.rfind(wanted))
    found = (index for index in reversed(range(len(items))) if items[index] == wanted)
    return celtypes.IntType(next(found, -1))


def _find(text: Value, pattern: Value) -> Value:
    found = re.search(str(pattern), str(text))
    return celtypes.StringType(found[0] if found else "")


def _find_all(text: Value, pattern: Value, limit: int = -1) -> Value:
    found = [match[0] for match in re.finditer(str(pattern), str(text))]
    found = found if limit < 0 else found[: int(limit)]
    return celtypes.ListType([celtypes.StringType(each) for each in found])


def _is_quantity(text: Value) -> Value:
    return celtypes.BoolType(_QUANTITY.fullmatch(str(text)) is not None)


def _is_url(text: Value) -> Value:
    try:
        found = urlsplit(str(text))
    except ValueError:
        return celtypes.BoolType(False)
    absolute = bool(found.scheme) and bool(found.netloc or found.path)
    return celtypes.BoolType(absolute or str(text).startswith("/"))


def _parses(parse: Callable[[str], object]) -> Callable[[Value], Value]:
    def check(text: Value) -> Value:
        try:
            parse(str(text))
        except ValueError:
            return celtypes.BoolType(False)
        return celtypes.BoolType(True)

    return check


def _network(text: str) -> None:
    if "/" not in text:
        raise ValueError("no prefix")
    ipaddress.ip_network(text, strict=False)


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "isSorted": _is_sorted,
    "sum": _sum,
    "max": _most,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "find": _find,
    "findAll": _find_all,
    "isQuantity": _is_quantity,
    "isURL": _is_url,
    "isIP": _parses(ipaddress.ip_address),
    "isCIDR": _parses(_network),
    "lowerAscii": lambda text: celtypes.StringType(str(text).lower()),
    "upperAscii": lambda text: celtypes.StringType(str(text).upper()),
    "trim": lambda text: celtypes.StringType(str(text).strip()),
    "split": lambda text, sign: celtypes.ListType(
        [celtypes.StringType(part) for part in str(text).split(str(sign))]
    ),
    "join": lambda items, sign="": celtypes.StringType(str(sign).join(str(i) for i in items)),
    "replace": lambda text, old, new: celtypes.StringType(str(text).replace(str(old), str(new))),
}
