"""Functions that Kubernetes adds to CEL for lists, texts and regular expressions.

Semantics: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-cel-libraries
(checks of a few were compared with a real API server).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

from celpy import celtypes
from celpy.evaluation import CELEvalError

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


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "isSorted": _is_sorted,
    "sum": _sum,
    "max": _most,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "find": _find,
    "findAll": _find_all,
    "lowerAscii": lambda text: celtypes.StringType(str(text).lower()),
    "upperAscii": lambda text: celtypes.StringType(str(text).upper()),
    "trim": lambda text: celtypes.StringType(str(text).strip()),
    "split": lambda text, sign: celtypes.ListType(
        [celtypes.StringType(part) for part in str(text).split(str(sign))]
    ),
    "join": lambda items, sign="": celtypes.StringType(str(sign).join(str(i) for i in items)),
    "replace": lambda text, old, new: celtypes.StringType(str(text).replace(str(old), str(new))),
}
