"""Defaults of built-in objects that clients and controllers rely on."""

from __future__ import annotations

import base64
from collections.abc import Callable

from harness.cluster.objects.meta import Json, Obj, meta, name_of, uid_of

_PROBE = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"


def fill_defaults(obj: Obj, kind: str) -> None:
    """Fill in the defaults of a built-in kind in place."""
    fill = _FILLS.get(kind)
    if fill is not None:
        fill(obj)


def _set(obj: Obj, **values: Json) -> None:
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def _pod_spec(spec: Obj, restart: str = "Always") -> None:
    _set(
        spec,
        restartPolicy=restart,
        dnsPolicy="ClusterFirst",
        terminationGracePeriodSeconds=30,
        schedulerName="default-scheduler",
        securityContext={},
    )
    if spec.get("serviceAccountName"):
        _set(spec, serviceAccount=spec["serviceAccountName"])
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        if len(volume) == 1:
            volume["emptyDir"] = {}
        for source in ("configMap", "secret"):
            if volume.get(source) is not None:
                _set(volume[source], defaultMode=420)


def _container(container: Obj) -> None:
    image = str(container.get("image") or "")
    latest = image.endswith(":latest") or ":" not in image.rpartition("/")[2]
    _set(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if latest and "@" not in image else "IfNotPresent",
    )
    resources = container["resources"]
    for kind in ("limits", "requests"):
        if resources.get(kind):
            resources[kind] = {key: str(value) for key, value in resources[kind].items()}
    for key, value in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(key, value)
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            _set(container[probe], **_PROBE)
    for entry in container.get("env") or ():
        reference = (entry.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _set(reference, apiVersion="v1")


def _pod(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _pod_spec(spec)
    _set(spec, serviceAccountName="default", enableServiceLinks=True, preemptionPolicy=None)
    spec.pop("preemptionPolicy", None)
    _set(spec, serviceAccount=spec["serviceAccountName"], priority=0)
    given = spec.setdefault("tolerations", [])
    for key in ("not-ready", "unreachable"):
        taint = f"node.kubernetes.io/{key}"
        if not any(item.get("key") in {taint, None} for item in given):
            given.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
            )


def _job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    _set(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="TerminatingOrFailed",
    )
    template = spec.setdefault("template", {})
    _pod_spec(template.setdefault("spec", {}), restart="")
    uid = uid_of(obj)
    if uid and not spec.get("manualSelector") and not spec.get("selector"):
        spec["selector"] = {"matchLabels": {JOB_UID: uid}}
        labels = template.setdefault("metadata", {}).setdefault("labels", {})
        name = name_of(obj)
        labels.update({JOB_UID: uid, JOB_NAME: name, "controller-uid": uid, "job-name": name})
        meta(obj).setdefault("labels", dict(labels))


def _deployment(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(
        spec,
        replicas=1,
        revisionHistoryLimit=10,
        progressDeadlineSeconds=600,
        strategy={"type": "RollingUpdate"},
    )
    if spec["strategy"].get("type", "RollingUpdate") == "RollingUpdate":
        _set(spec["strategy"], type="RollingUpdate", rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _replica_set(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, replicas=1)
    _pod_spec(spec.setdefault("template", {}).setdefault("spec", {}))


def _service(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if spec["type"] != "ExternalName":
        _set(
            spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack", internalTrafficPolicy="Cluster"
        )
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP", targetPort=port.get("port"))


def _secret(obj: Obj) -> None:
    _set(obj, type="Opaque")
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()


def _event(obj: Obj) -> None:
    obj.setdefault("eventTime", None)
    _set(obj, reportingComponent="", reportingInstance="", source={})


def _claim(obj: Obj) -> None:
    _set(obj.setdefault("spec", {}), volumeMode="Filesystem")


def _namespace(obj: Obj) -> None:
    meta(obj).setdefault("labels", {})["kubernetes.io/metadata.name"] = name_of(obj)
    _set(obj.setdefault("spec", {}), finalizers=["kubernetes"])


def _binding(obj: Obj) -> None:
    _set(obj.setdefault("roleRef", {}), apiGroup="rbac.authorization.k8s.io")
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            _set(subject, apiGroup="rbac.authorization.k8s.io")


_FILLS: dict[str, Callable[[Obj], None]] = {
    "Pod": _pod,
    "Job": _job,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Service": _service,
    "Secret": _secret,
    "Event": _event,
    "PersistentVolumeClaim": _claim,
    "Namespace": _namespace,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
}
