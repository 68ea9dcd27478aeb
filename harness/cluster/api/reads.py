"""Get and list, with selectors and pages."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from harness.cluster.api.convert import to_served
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import (
    ApiError,
    bad_request,
    expired,
    future_version,
    not_found,
)
from harness.cluster.objects.meta import Obj, name_of, namespace_of
from harness.cluster.objects.outside import each
from harness.cluster.objects.selectors import Match, field_selector, label_selector
from harness.cluster.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which objects of a resource are asked for; None stands for all namespaces."""

    resource: ResourceType
    namespace: str | None = None
    name: str | None = None
    labels: str = ""
    fields: str = ""

    def match(self) -> Match:
        """A test for objects in their served form.

        Raises:
            ApiError: 400, a selector cannot be understood.
        """
        by_label = label_selector(self.labels)
        by_field = field_selector(self.fields, self.resource.fields)

        def fits(obj: Obj) -> bool:
            if self.namespace is not None and namespace_of(obj) != self.namespace:
                return False
            if self.name is not None and name_of(obj) != self.name:
                return False
            return by_label(obj) and by_field(obj)

        return fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Paging and consistency of a list."""

    limit: int = 0
    token: str = ""
    version: str = ""
    version_match: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The reading verbs."""

    store: Store

    def get(self, resource: ResourceType, namespace: str, name: str) -> Obj:
        """One object.

        Raises:
            ApiError: 404.
        """
        found = self.store.get(resource.storage, namespace, name)
        if found is None:
            raise not_found(resource.plural, resource.group, name)
        return to_served(resource, found)

    def list(self, wanted: Wanted, page: Page) -> tuple[list[Obj], Obj]:
        """Objects in order, and the metadata of the list.

        Raises:
            ApiError: 400, 410 or 504.
        """
        resource, match = wanted.resource, wanted.match()
        version, start = self._place(page)
        if version == self.store.version:
            found = self.store.list(resource.storage, wanted.namespace)
        else:
            found = self.store.list_at(resource.storage, version, wanted.namespace)
        left = (obj for obj in found if start is None or _key(obj) > start)
        served = each(left, lambda obj: to_served(resource, obj))
        items = [obj for obj in served if match(obj)]
        metadata: Obj = {"resourceVersion": str(version)}
        if resource.custom:
            metadata["continue"] = ""
        if page.limit and len(items) > page.limit:
            beyond = len(items) - page.limit
            items = items[: page.limit]
            metadata["continue"] = _token(version, _key(items[-1]))
            if not wanted.labels and not wanted.fields:
                metadata["remainingItemCount"] = beyond
        return items, metadata

    def _place(self, page: Page) -> tuple[int, tuple[str, str] | None]:
        if page.token:
            version, start = _parsed_token(page.token)
            if version < self.store.oldest:
                raise ApiError(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You must start a new list without the continue parameter.",
                )
            return version, start
        if not page.version or page.version == "0":
            return self.store.version, None
        wanted = parsed_version(page.version)
        if wanted > self.store.version:
            raise future_version(wanted, self.store.version)
        if page.version_match == "Exact":
            if wanted < self.store.oldest:
                raise expired(wanted, self.store.oldest)
            return wanted, None
        return self.store.version, None


def parsed_version(text: str) -> int:
    """A resourceVersion of a query.

    Raises:
        ApiError: 400.
    """
    if not text.isdigit():
        raise bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
    return int(text)


def _key(obj: Obj) -> tuple[str, str]:
    return (namespace_of(obj), name_of(obj))


def _token(version: int, last: tuple[str, str]) -> str:
    content = {"v": "meta.k8s.io/v1", "rv": version, "start": "\0".join(last)}
    text = json.dumps(content, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parsed_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        content = json.loads(raw)
        namespace, _, name = content["start"].partition("\0")
        return int(content["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"invalid continue token: continue key is not valid: {error}"
        raise bad_request(message) from error
