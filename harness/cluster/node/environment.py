"""What a container sees: variables, mounted folders, expanded commands."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from pathlib import Path

from harness.cluster.objects.meta import (
    Json,
    Obj,
    annotations_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from harness.cluster.objects.paths import dotted
from harness.cluster.objects.quantity import parse_quantity
from harness.cluster.store import Store

_VOLUMES = frozenset({"hostPath", "emptyDir", "configMap", "secret", "persistentVolumeClaim"})
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][\w.-]*)\)")


class MissingError(Exception):
    """A ConfigMap, Secret, key or volume that a container needs is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Builds the surroundings of containers.

    Attributes:
        base: variables that every container gets.
        folder: state of pods and volumes lies below.
    """

    store: Store
    base: dict[str, str]
    folder: Path

    def pod_folder(self, uid: str) -> Path:
        """Folder of one pod."""
        return self.folder / "pods" / uid

    def mounts(self, pod: Obj, container: Obj) -> dict[str, str]:
        """Local folder by mount path; contents of ConfigMaps and Secrets are written.

        Raises:
            MissingError: names what is missing.
        """
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        found = {}
        for mount in container.get("volumeMounts") or ():
            volume = volumes.get(mount["name"])
            if volume is None:
                raise MissingError(f'volume "{mount["name"]}" not found')
            path = self._volume(pod, volume)
            if mount.get("subPath"):
                path = path / str(mount["subPath"])
            found[mount["mountPath"].rstrip("/")] = str(path)
        return found

    def _volume(self, pod: Obj, volume: Obj) -> Path:
        namespace = namespace_of(pod)
        path: Path
        kinds = [key for key in volume if key != "name"]
        if not set(kinds) <= _VOLUMES:
            raise MissingError(f'volume "{volume["name"]}" is of a kind not served: {kinds}')
        if "hostPath" in volume:
            return Path(str(volume["hostPath"]["path"]))
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            if self.store.get("persistentvolumeclaims", namespace, claim) is None:
                raise MissingError(f'persistentvolumeclaim "{claim}" not found')
            path = self.folder / "volumes" / namespace / claim
        else:
            path = self.pod_folder(uid_of(pod)) / "volumes" / volume["name"]
        path.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume:
            source = volume["configMap"]
            self._write(path, source, self._data("configmaps", namespace, source["name"], source))
        elif "secret" in volume:
            source = volume["secret"]
            data = self._data("secrets", namespace, source["secretName"], source)
            self._write(path, source, data)
        return path

    @staticmethod
    def _write(path: Path, source: Obj, content: dict[str, bytes]) -> None:
        names = {key: key for key in content}
        if source.get("items"):
            names = {item["key"]: item["path"] for item in source["items"]}
        for key, name in names.items():
            if key not in content:
                raise MissingError(f"references non-existent key: {key}")
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content[key])

    def _data(self, storage: str, namespace: str, name: str, source: Obj) -> dict[str, bytes]:
        found = self.store.get(storage, namespace, name)
        if found is None:
            if source.get("optional"):
                return {}
            raise MissingError(f'{storage[:-1]} "{name}" not found')
        data = found.get("data") or {}
        if storage == "secrets":
            return {key: base64.b64decode(value) for key, value in data.items()}
        plain = {key: str(value).encode() for key, value in data.items()}
        binary = found.get("binaryData") or {}
        return plain | {key: base64.b64decode(value) for key, value in binary.items()}

    def variables(self, pod: Obj, container: Obj, extra: dict[str, str]) -> dict[str, str]:
        """Environment of a container.

        Raises:
            MissingError: names what is missing.
        """
        found = {**self.base, "HOSTNAME": name_of(pod), **self._services(pod), **extra}
        namespace = namespace_of(pod)
        for entry in container.get("envFrom") or ():
            for field, storage in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if field in entry:
                    source = entry[field]
                    data = self._data(storage, namespace, source["name"], source)
                    prefix = entry.get("prefix", "")
                    found |= {prefix + key: value.decode() for key, value in data.items()}
        for entry in container.get("env") or ():
            value = self._value(pod, container, entry)
            if value is not None:
                found[entry["name"]] = expanded(value, found)
        return found

    def _value(self, pod: Obj, container: Obj, entry: Obj) -> str | None:
        source = entry.get("valueFrom")
        if not source:
            return str(entry.get("value", ""))
        if "fieldRef" in source:
            return _field(pod, source["fieldRef"]["fieldPath"])
        if "resourceFieldRef" in source:
            return _amount(container, source["resourceFieldRef"])
        for field, storage in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if field in source:
                wanted = source[field]
                data = self._data(storage, namespace_of(pod), wanted["name"], wanted)
                if wanted["key"] in data:
                    return data[wanted["key"]].decode()
                if wanted.get("optional"):
                    return None
                raise MissingError(
                    f"couldn't find key {wanted['key']} in {storage[:-1]} {wanted['name']}"
                )
        return None

    def _services(self, pod: Obj) -> dict[str, str]:
        found = {}
        for service in self.store.list("services", namespace_of(pod)):
            address = service["spec"].get("clusterIP")
            ports = service["spec"].get("ports") or ()
            if not address or address == "None" or not ports:
                continue
            stem = re.sub(r"[^A-Za-z0-9]", "_", name_of(service)).upper()
            found[f"{stem}_SERVICE_HOST"] = address
            found[f"{stem}_SERVICE_PORT"] = str(ports[0]["port"])
        return found


def expanded(text: str, variables: dict[str, str]) -> str:
    """``$(NAME)`` replaced by values; unknown names stay, ``$$`` is a dollar."""

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return _REFERENCE.sub(replace, text)


def relocated(value: str, mounts: dict[str, str]) -> str:
    """Mount paths inside a word replaced by local folders, the longest first.

    A JSON document stays as it is: it says something about other pods, as requests do that
    are handed to a profiler.
    """
    if value.lstrip().startswith("{"):
        return value
    if not mounts:
        return value
    # In one pass: what a folder is called is not looked at again.
    paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    pattern = rf"(?<![\w/.-])({paths})(?=/|$|[\s'\":;,)])"
    return re.sub(pattern, lambda found: mounts[found[1]], value)


def linked(place: Path, home: str, mounts: dict[str, str]) -> None:
    """Make mounts below the working directory visible there, for relative paths.

    Args:
        place: the local working directory.
        home: the container's working directory.
        mounts: local folder by mount path.
    """
    inside = home.rstrip("/") + "/"
    for mount, folder in mounts.items():
        link = place / mount.removeprefix(inside)
        if mount.startswith(inside) and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder)


def _amount(container: Obj, wanted: Obj) -> str:
    """``limits.cpu`` and the like in units of the divisor, rounded up."""
    kind, _, name = str(wanted.get("resource", "")).partition(".")
    amounts = (container.get("resources") or {}).get(kind) or {}
    divisor = parse_quantity(wanted.get("divisor") or "1") or Decimal(1)
    return str(ceil(parse_quantity(amounts.get(name, "0")) / divisor))


def _field(pod: Obj, path: str) -> str:
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        values = labels_of(pod) if found[1] == "labels" else annotations_of(pod)
        return values.get(found[2], "")
    value: Json = dotted(pod, path)
    return "" if value is None else str(value)
