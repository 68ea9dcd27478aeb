"""Prometheus text format to samples; only the names that somebody wants are parsed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from contracts.errors import TransientError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of a page of metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str, prefixes: Sequence[str], source: str) -> list[Sample]:
    """The samples whose names begin with a prefix.

    Raises:
        TransientError: the text is no page of metrics.
    """
    lines = [line for line in text.splitlines() if line.startswith(tuple(prefixes))]
    try:
        return list(_parsed("\n".join(lines) + "\n"))
    except (ValueError, IndexError) as error:
        raise TransientError(f"{source}: malformed metrics: {error}", retry_after_s=0.0) from error


def _parsed(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield Sample(name=sample.name, labels=sample.labels, value=float(sample.value))
