"""Kubernetes' own types of CEL: quantities, URLs, addresses and networks.

Semantics: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-cel-libraries.
A value is made by a function of its name (``quantity("1Gi")``), which fails on a text that
is none; what can be called on it is a function whose first argument it is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from celpy import celtypes
from celpy.evaluation import CELEvalError

from harness.cluster.objects.quantity import parse_quantity

_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")

Value = Any
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount."""

    amount: Decimal

    def plus(self, other: Value, sign: int) -> Quantity:
        """Sum with, or difference from, a quantity or an integer."""
        number = other.amount if isinstance(other, Quantity) else Decimal(int(other))
        return Quantity(self.amount + sign * number)


@dataclass(frozen=True, slots=True)
class Url:
    """A URL, absolute or an absolute path."""

    parts: SplitResult

    def port(self) -> str:
        """The port as text; empty without one."""
        return "" if self.parts.port is None else str(self.parts.port)

    def host(self) -> str:
        """Name or address and port, without user and password."""
        return self.parts.netloc.rpartition("@")[2]

    def host_name(self) -> str:
        """Name or address."""
        name = self.parts.hostname or ""
        return f"[{name}]" if ":" in name else name

    def query(self) -> celtypes.MapType:
        """Names to lists of values."""
        found = parse_qs(self.parts.query, keep_blank_values=True)
        return celtypes.MapType(
            {
                celtypes.StringType(name): celtypes.ListType(map(celtypes.StringType, values))
                for name, values in found.items()
            }
        )


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    address: _Address


@dataclass(frozen=True, slots=True)
class Cidr:
    """A network, written by any of its addresses."""

    interface: _Network


def parse_amount(text: str) -> Quantity:
    """A quantity.

    Raises:
        ValueError: it is none.
    """
    if _QUANTITY.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no quantity")
    return Quantity(parse_quantity(text))


def parse_url(text: str) -> Url:
    """A URL.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(text)
    _ = parts.port  # a port that is no number is found when it is asked for
    absolute = bool(parts.scheme) and bool(parts.netloc or parts.path)
    if not (absolute or text.startswith("/")):
        raise ValueError(f"{text!r} is no URL")
    return Url(parts)


def parse_cidr(text: str) -> Cidr:
    """A network.

    Raises:
        ValueError: it is none.
    """
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix")
    return Cidr(ipaddress.ip_interface(text))


def parse_ip(text: str) -> Ip:
    """An address.

    Raises:
        ValueError: it is none.
    """
    return Ip(ipaddress.ip_address(text))


def made_of(parse: Callable[[str], object]) -> Callable[[Value], Value]:
    """The function of CEL that makes a value out of a text."""

    def make(text: Value) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise CELEvalError(str(error)) from error

    return make


def _holds(parse: Callable[[str], object]) -> Callable[[Value], Value]:
    def check(text: Value) -> Value:
        try:
            parse(str(text))
        except ValueError:
            return celtypes.BoolType(False)
        return celtypes.BoolType(True)

    return check


def _text(read: Callable[[Any], str]) -> Callable[[Value], Value]:
    return lambda value: celtypes.StringType(read(value))


def _is(read: Callable[..., bool]) -> Callable[..., Value]:
    return lambda *values: celtypes.BoolType(read(*values))


def _sign(value: Quantity) -> Value:
    return celtypes.IntType((value.amount > 0) - (value.amount < 0))


def _order(value: Quantity, other: Quantity) -> Value:
    return celtypes.IntType((value.amount > other.amount) - (value.amount < other.amount))


def _integer(value: Quantity) -> Value:
    if value.amount != value.amount.to_integral_value():
        raise CELEvalError("cannot convert value to integer")
    return celtypes.IntType(int(value.amount))


def _inside(network: Cidr, other: Value) -> bool:
    found = other if isinstance(other, Ip) else made_of(parse_ip)(other)
    return found.address in network.interface.network


def _within(network: Cidr, other: Value) -> bool:
    found = other if isinstance(other, Cidr) else made_of(parse_cidr)(other)
    mine, theirs = network.interface.network, found.interface.network
    return theirs.network_address in mine and theirs.prefixlen >= mine.prefixlen


def _ip(value: Value) -> Value:
    """An address out of a text, or the one that a network was written by."""
    return Ip(value.interface.ip) if isinstance(value, Cidr) else made_of(parse_ip)(value)


def _family(value: Ip) -> Value:
    return celtypes.IntType(value.address.version)


TYPE_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "isQuantity": _holds(parse_amount),
    "isURL": _holds(parse_url),
    "isIP": _holds(parse_ip),
    "isCIDR": _holds(parse_cidr),
    "quantity": made_of(parse_amount),
    "sign": _sign,
    "isInteger": _is(lambda value: value.amount == value.amount.to_integral_value()),
    "asInteger": _integer,
    "asApproximateFloat": lambda value: celtypes.DoubleType(float(value.amount)),
    "add": lambda value, other: value.plus(other, 1),
    "sub": lambda value, other: value.plus(other, -1),
    "isGreaterThan": _is(lambda value, other: value.amount > other.amount),
    "isLessThan": _is(lambda value, other: value.amount < other.amount),
    "compareTo": _order,
    "url": made_of(parse_url),
    "getScheme": _text(lambda value: value.parts.scheme),
    "getHost": _text(Url.host),
    "getHostname": _text(Url.host_name),
    "getPort": _text(Url.port),
    "getEscapedPath": _text(lambda value: value.parts.path),
    "getQuery": Url.query,
    "ip": _ip,
    "family": _family,
    "isLoopback": _is(lambda value: value.address.is_loopback),
    "isUnspecified": _is(lambda value: value.address.is_unspecified),
    "isLinkLocalMulticast": _is(lambda value: value.address.is_multicast and _local(value)),
    "isLinkLocalUnicast": _is(lambda value: value.address.is_link_local),
    "cidr": made_of(parse_cidr),
    "containsIP": _is(_inside),
    "containsCIDR": _is(_within),
    "prefixLength": lambda value: celtypes.IntType(value.interface.network.prefixlen),
    "masked": lambda value: Cidr(ipaddress.ip_interface(str(value.interface.network))),
}


def _local(value: Ip) -> bool:
    wide = "224.0.0.0/24" if value.address.version == 4 else "ff02::/16"
    return value.address in ipaddress.ip_network(wide)
