"""Handles requests for resources: the verbs with their bodies and forms."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from harness.cluster.api import Call, Options, Reads, Watcher, Writes
from harness.cluster.api.reads import Page, Wanted
from harness.cluster.api.watching import check_initial, gone
from harness.cluster.clock import Clock
from harness.cluster.http.auth import User
from harness.cluster.http.message import (
    Answer,
    Request,
    asked_form,
    encoded,
    json_answer,
)
from harness.cluster.http.route import Route
from harness.cluster.kinds.resource import ResourceType
from harness.cluster.objects.errors import (
    ApiError,
    FieldProblem,
    bad_request,
    invalid,
    required,
    unsupported_media,
)
from harness.cluster.objects.meta import Json, Obj, name_of, namespace_of, version_of
from harness.cluster.objects.outside import Answers, AnswersMissing
from harness.cluster.patching import json_patch, merge_patch, strategic_patch
from harness.cluster.tables import partial, table

_APPLY = "application/apply-patch+yaml"
_JSON_PATCH = "application/json-patch+json"
_MERGE = "application/merge-patch+json"
_STRATEGIC = "application/strategic-merge-patch+json"
BOOKMARK_S = 60.0
_DEFAULT_WATCH_S = 1800


@dataclass(slots=True, eq=False)
class Ticket:
    """One open watch."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False


@dataclass(slots=True, kw_only=True)
class Watches:
    """The open watches, so that they can be dropped."""

    open: set[Ticket]

    def drop_all(self) -> None:
        """End every watch."""
        for ticket in tuple(self.open):
            ticket.dropped = True
            ticket.wake.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The verbs over HTTP."""

    reads: Reads
    writes: Writes
    clock: Clock
    watches: Watches

    def handle(self, request: Request, route: Route, user: User) -> Answer:
        """Answer a request for an object, a collection, or a status.

        Raises:
            ApiError: the request is refused.
        """
        if route.verb == "get":
            return self._one(request, route)
        if route.verb == "list":
            return self._many(request, route)
        if route.verb == "watch":
            return self._watch(request, route)
        call = self._call(request, route, user)
        if route.verb == "create":
            found = self.writes.create(route.resource, route.namespace, request.object(), call)
            return self._written(request, route, found, call, created=True)
        if route.verb == "update":
            return self._update(request, route, call)
        if route.verb == "patch":
            return self._patch(request, route, call)
        options = self._delete_options(request)
        if route.verb == "delete":
            found = self.writes.delete(route.resource, route.key, options, call)
            return json_answer(found, warnings=_warnings(route, call))
        return self._delete_many(request, route, options, call)

    def _call(self, request: Request, route: Route, user: User) -> Call:
        validation = request.query.get("fieldValidation") or "Warn"
        if validation not in {"Strict", "Warn", "Ignore"}:
            raise bad_request(f"fieldValidation: Unsupported value: {validation!r}")
        given = request.query.get("fieldManager", "")
        if not given and not (route.verb == "patch" and request.content_type == _APPLY):
            given = request.headers.get("user-agent", "").partition("/")[0] or "unknown"
        options = Options(
            dry_run=request.query.get("dryRun") == "All",
            field_validation=validation,
            manager=given,
            force=request.flag("force"),
        )
        return Call(user=user.name, options=options, warnings=request.notes)

    def _one(self, request: Request, route: Route) -> Answer:
        obj = self.reads.get(route.resource, *route.key)
        form, _ = asked_form(request.headers.get("accept", ""))
        if form == "Table":
            metadata = {"resourceVersion": str(version_of(obj))}
            return json_answer(self._table(request, route, [obj], metadata))
        if form.startswith("PartialObjectMetadata"):
            return json_answer(partial(obj))
        return json_answer(obj, warnings=_warnings(route, None))

    def _wanted(self, request: Request, route: Route) -> Wanted:
        return Wanted(
            resource=route.resource,
            namespace=route.namespace or None,
            name=route.name or None,
            labels=request.query.get("labelSelector", ""),
            fields=request.query.get("fieldSelector", ""),
        )

    def _many(self, request: Request, route: Route) -> Answer:
        page = Page(
            limit=request.number("limit"),
            token=request.query.get("continue", ""),
            version=request.query.get("resourceVersion", ""),
            version_match=request.query.get("resourceVersionMatch", ""),
        )
        items, metadata = self.reads.list(self._wanted(request, route), page)
        resource = route.resource
        form, _ = asked_form(request.headers.get("accept", ""))
        if form == "Table":
            return json_answer(self._table(request, route, items, metadata))
        if form.startswith("PartialObjectMetadata"):
            found = {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": [partial(item) for item in items],
            }
            return json_answer(found)
        if not resource.custom:
            items = [_bare(item) for item in items]
        found = {
            "kind": resource.list_kind,
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }
        return json_answer(found, warnings=_warnings(route, None))

    def _table(self, request: Request, route: Route, items: list[Obj], metadata: Obj) -> Obj:
        return table(
            route.resource,
            items,
            metadata,
            include=request.query.get("includeObject", "Metadata"),
            now_s=self.clock.unix_s(),
        )

    def _written(
        self, request: Request, route: Route, obj: Obj, call: Call, *, created: bool
    ) -> Answer:
        form, _ = asked_form(request.headers.get("accept", ""))
        shown: Json = obj
        if form == "Table":
            metadata = {"resourceVersion": str(version_of(obj))}
            shown = self._table(request, route, [obj], metadata)
        elif form.startswith("PartialObjectMetadata"):
            shown = partial(obj)
        code = 201 if created else 200
        return json_answer(shown, code, warnings=_warnings(route, call))

    def _update(self, request: Request, route: Route, call: Call) -> Answer:
        body = request.object()
        if name_of(body) not in {"", route.name}:
            raise bad_request(
                f"the name of the object ({name_of(body)}) does not match the name on the URL "
                f"({route.name})"
            )
        body = {**body, "metadata": {**(body.get("metadata") or {}), "name": route.name}}
        found = self.writes.update(
            route.resource, route.namespace, body, call, subresource=route.subresource
        )
        return self._written(request, route, found, call, created=False)

    def _patch(self, request: Request, route: Route, call: Call) -> Answer:
        kind, resource = request.content_type, route.resource
        sub = route.subresource
        if kind == _APPLY:
            if not request.query.get("fieldManager"):
                problem = required("fieldManager", "is required for apply patch")
                raise invalid("PatchOptions", "meta.k8s.io", "", [problem])
            found, created = self.writes.apply(
                resource, route.key, request.object(), call, subresource=sub
            )
            return self._written(request, route, found, call, created=created)
        if call.options.force:
            text = "Forbidden: may not be specified for non-apply patch"
            problem = FieldProblem("FieldValueForbidden", "force", text)
            raise invalid("PatchOptions", "meta.k8s.io", "", [problem])
        document = request.document()
        found = self.writes.patch(
            resource,
            route.key,
            lambda old: patched(resource, kind, old, document),
            call,
            subresource=sub,
        )
        return self._written(request, route, found, call, created=False)

    def _delete_options(self, request: Request) -> Obj:
        found = request.document()
        options: Obj = found if isinstance(found, dict) else {}
        for name in ("propagationPolicy", "gracePeriodSeconds", "dryRun", "orphanDependents"):
            if name in request.query and name not in options:
                options[name] = request.query[name]
        return options

    def _delete_many(self, request: Request, route: Route, options: Obj, call: Call) -> Answer:
        items, metadata = self.reads.list(self._wanted(request, route), Page())
        for item in items:
            key = (namespace_of(item), name_of(item))
            self.writes.delete(route.resource, key, options, call)
        found = {
            "kind": route.resource.list_kind,
            "apiVersion": route.resource.api_version,
            "metadata": metadata,
            "items": items,
        }
        return json_answer(found)

    def _watch(self, request: Request, route: Route) -> Answer:
        initial = request.flag("sendInitialEvents")
        if initial:
            check_initial(request.query.get("resourceVersionMatch", ""))
        version = request.query.get("resourceVersion", "")
        form, _ = asked_form(request.headers.get("accept", ""))
        shape = _Shape(resource=route.resource, form=form, request=request, clock=self.clock)
        try:
            watcher = Watcher(
                self.reads.store, self._wanted(request, route), version, initial=initial
            )
        except ApiError as error:
            if error.code != 410:
                raise
            return Answer(stream=_single(encoded(gone(error)) + b"\n"))
        timeout_s = request.number("timeoutSeconds") or _DEFAULT_WATCH_S
        bookmarks = request.flag("allowWatchBookmarks")
        return Answer(stream=self._events(watcher, shape, timeout_s, bookmarks=bookmarks))

    async def _events(
        self, watcher: Watcher, shape: _Shape, timeout_s: float, *, bookmarks: bool
    ) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        ticket = Ticket()
        watcher.subscription.wake = ticket.wake.set
        self.watches.open.add(ticket)
        end_s = loop.time() + timeout_s
        next_mark_s = loop.time() + min(BOOKMARK_S, max(0.5, timeout_s - 2))
        try:
            yield await _joined(shape, watcher.start)
            while not ticket.dropped and loop.time() < end_s:
                ticket.wake.clear()
                try:
                    lines = await _joined(shape, watcher.pending)
                except ApiError as error:
                    yield encoded(gone(error)) + b"\n"
                    return
                if lines:
                    yield lines
                    continue
                if bookmarks and loop.time() >= next_mark_s:
                    next_mark_s = loop.time() + BOOKMARK_S
                    yield b"".join(shape.lines(iter([watcher.bookmark()])))
                wait_s = min(end_s, next_mark_s if bookmarks else end_s) - loop.time()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ticket.wake.wait(), max(0.0, wait_s))
        finally:
            self.watches.open.discard(ticket)
            watcher.close()


async def _joined(shape: _Shape, events: Callable[[], Iterator[Obj]]) -> bytes:
    """All lines there are, once webhooks have answered."""
    lines: list[bytes] = []
    answers = Answers()
    while True:
        try:
            answers.attempt(lambda: _collect(shape.lines(events()), lines))
        except AnswersMissing as missing:
            questions = missing.questions
        else:
            return b"".join(lines)
        await answers.fetch(questions)


def _collect(found: Iterator[bytes], lines: list[bytes]) -> None:
    for line in found:
        lines.append(line)  # noqa: PERF402  # what came before an exception stays


async def _single(line: bytes) -> AsyncIterator[bytes]:
    yield line


@dataclass(slots=True, kw_only=True)
class _Shape:
    """Turns events into lines of the form that the reader asked for."""

    resource: ResourceType
    form: str
    request: Request
    clock: Clock
    first: bool = True

    def lines(self, events: Iterator[Obj]) -> Iterator[bytes]:
        """One line for each event."""
        for event in events:
            obj = event["object"]
            if self.form == "Table":
                obj = self._table(obj)
            elif self.form.startswith("PartialObjectMetadata") and event["type"] != "BOOKMARK":
                obj = partial(obj)
            yield encoded({"type": event["type"], "object": obj}) + b"\n"

    def _table(self, obj: Obj) -> Obj:
        found = table(
            self.resource,
            [obj],
            {"resourceVersion": str(version_of(obj))},
            include=self.request.query.get("includeObject", "Metadata"),
            now_s=self.clock.unix_s(),
        )
        if not self.first:
            del found["columnDefinitions"]
        self.first = False
        return found


def patched(resource: ResourceType, kind: str, old: Obj, document: Json) -> Json:
    """An object changed by a patch of a media type.

    Raises:
        ApiError: 400, 415 or 422.
    """
    if kind == _JSON_PATCH:
        return json_patch(old, document)
    if kind == _MERGE:
        if not isinstance(document, dict):
            raise bad_request("a merge patch must be an object")
        return merge_patch(old, document)
    if kind == _STRATEGIC and not resource.custom:
        if not isinstance(document, dict):
            raise bad_request("a strategic merge patch must be an object")
        return strategic_patch(old, document, resource.schema or {})
    accepted = [_JSON_PATCH, _MERGE, _APPLY]
    raise unsupported_media(kind, accepted if resource.custom else [*accepted, _STRATEGIC])


def _bare(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in {"kind", "apiVersion"}}


def _warnings(route: Route, call: Call | None) -> tuple[str, ...]:
    found = [] if call is None else list(call.warnings)
    if route.resource.deprecated:
        found.append(route.resource.deprecated)
    return tuple(found)
