"""Bearer tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

from harness.cluster.clock import Clock
from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import time_text, uid_of
from harness.cluster.store import Store

MASTERS = "system:masters"
_PREFIX = "sa."


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who sent a request."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""

    @property
    def master(self) -> bool:
        """Whether everything is allowed."""
        return MASTERS in self.groups


ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))
ADMIN = User(name="kubernetes-admin", groups=(MASTERS, "system:authenticated"))


class Tokens:
    """Knows the administrator's token, and signs those of service accounts.

    Args:
        admin: the administrator's token; empty lets everybody in as administrator.
        store: service accounts must still exist when their token is used.
    """

    def __init__(self, admin: str, store: Store, clock: Clock) -> None:
        self._admin = admin
        self._store = store
        self._clock = clock

    def user(self, header: str) -> User:
        """The user of an ``Authorization`` header.

        Raises:
            ApiError: 401.
        """
        if not self._admin:
            return ADMIN
        scheme, _, token = header.partition(" ")
        if scheme.lower() == "bearer" and token:
            if hmac.compare_digest(token.encode(), self._admin.encode()):
                return ADMIN
            found = self._service_account(token)
            if found is not None:
                return found
        raise ApiError(401, "Unauthorized", "Unauthorized")

    def issue(self, namespace: str, name: str, uid: str, lifetime_s: int) -> tuple[str, str]:
        """A service account's token and when it expires."""
        end_s = int(self._clock.unix_s()) + lifetime_s
        content = json.dumps([namespace, name, uid, end_s], separators=(",", ":"))
        body = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
        return f"{_PREFIX}{body}.{self._signature(body)}", time_text(end_s)

    def _signature(self, body: str) -> str:
        key = f"service accounts/{self._admin}".encode()
        return hmac.new(key, body.encode(), hashlib.sha256).hexdigest()

    def _service_account(self, token: str) -> User | None:
        body, _, signature = token.removeprefix(_PREFIX).partition(".")
        if not token.startswith(_PREFIX) or not hmac.compare_digest(
            signature.encode(), self._signature(body).encode()
        ):
            return None
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        namespace, name, uid, end_s = json.loads(raw)
        account = self._store.get("serviceaccounts", namespace, name)
        if account is None or uid_of(account) != uid or end_s < self._clock.unix_s():
            return None
        groups = (
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
            "system:authenticated",
        )
        return User(name=f"system:serviceaccount:{namespace}:{name}", groups=groups, uid=uid)
