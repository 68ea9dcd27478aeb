"""Prices of GPUs: a YAML file that maps SKUs to a currency amount for a GPU-hour."""

from __future__ import annotations

import math
from collections.abc import Mapping

import yaml

from contracts.errors import InputError


def load_prices(text: str, *, source: str) -> dict[str, float]:
    """Read a price table such as ``h200_sxm: 3.5``; the currency is the reader's own.

    Raises:
        InputError: not a mapping of names to positive numbers.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", source=source) from error
    if not isinstance(content, Mapping) or not content:
        raise InputError("is no price table", source=source, allowed="lines like h200_sxm: 3.5")
    prices = {}
    for sku, price in content.items():
        number = isinstance(price, int | float) and not isinstance(price, bool)
        if not number or not (math.isfinite(price) and price > 0):
            raise InputError(
                "is no price", source=source, path=str(sku), value=repr(price),
                allowed="a positive number, for one GPU and one hour",
            )  # fmt: skip
        prices[str(sku)] = float(price)
    return prices


def price_of(prices: Mapping[str, float], sku: str, *, source: str = "--prices") -> float:
    """Price of a GPU-hour.

    Raises:
        InputError: the table does not have the SKU.
    """
    if sku not in prices:
        raise InputError(
            "has no price for the GPU", source=source, value=sku, allowed=", ".join(sorted(prices))
        )
    return prices[sku]


def cost_per_million_tokens(price_per_gpu_hour: float, tokens_per_s_per_gpu: float) -> float | None:
    """Cost of a million output tokens, ``None`` when none are made."""
    if tokens_per_s_per_gpu <= 0:
        return None
    return price_per_gpu_hour / 3600.0 / tokens_per_s_per_gpu * 1e6
