"""Write harness/cluster/kinds/data/types.json from the models of the installed client.

The table holds names and types of fields only: ``{"V1JobSpec": {"!template": ...}}``, where
an exclamation mark stands for a field that must be present. Run it with the newest
supported client: ``python -m tools.kubernetes_types``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from kubernetes.client import models

TARGET = Path(__file__).parents[1] / "harness" / "cluster" / "kinds" / "data" / "types.json"
ROOTS = [
    "V1Pod",
    "V1Service",
    "V1ConfigMap",
    "V1Secret",
    "CoreV1Event",
    "V1Node",
    "V1Namespace",
    "V1PersistentVolumeClaim",
    "V1PersistentVolume",
    "V1ServiceAccount",
    "V1Job",
    "V1CronJob",
    "V1Deployment",
    "V1ReplicaSet",
    "V1StatefulSet",
    "V1DaemonSet",
    "V1Role",
    "V1ClusterRole",
    "V1RoleBinding",
    "V1ClusterRoleBinding",
    "V1Lease",
    "V1CustomResourceDefinition",
    "V1Endpoints",
    "V1EndpointSlice",
    "EventsV1Event",
    "V1SelfSubjectAccessReview",
    "V1Scale",
    "AuthenticationV1TokenRequest",
    "V1PriorityClass",
    "V1StorageClass",
    "V1MutatingWebhookConfiguration",
    "V1ValidatingWebhookConfiguration",
]


def table() -> dict[str, dict[str, str]]:
    """Every type that the roots reach, sorted."""
    found: dict[str, dict[str, str]] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        model: Any = getattr(models, name)
        found[name] = {}
        for attribute, kind in model.openapi_types.items():
            field = model.model_fields.get(attribute)
            must = "!" if field is not None and field.is_required() else ""
            found[name][must + model.attribute_map[attribute]] = kind
            waiting += [word for word in re.findall(r"\w+", kind) if hasattr(models, word)]
    return {name: dict(sorted(found[name].items())) for name in sorted(found)}


def main() -> None:
    """Write the file, one type a line."""
    lines = (f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in table().items())
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
