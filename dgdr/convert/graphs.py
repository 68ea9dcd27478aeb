"""DynamoGraphDeployment and scaling adapter: v1alpha1 to v1beta1 and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dgdr.convert.plain import Json, put, section

MAIN = "main"
_GPU = "nvidia.com/gpu"
_AMOUNTS = ("requests", "limits")
# Resources that services of v1alpha1 have names for; all others are custom.
_NAMED = ("cpu", "memory", _GPU)
_SUB_TYPES = ("prefill", "decode")
_MOVED = {
    "componentType",
    "subComponentType",
    "scalingAdapter",
    "resources",
    "volumeMounts",
    "envs",
    "envFromSecret",
    "extraPodSpec",
    "extraPodMetadata",
}


def graph_to_v1beta1(old: Mapping[str, Any]) -> Json:
    """A deployment with services as one with components, sorted by name."""
    spec = section(old, "spec")
    services = spec.pop("services", None) or {}
    put(spec, _other_claims(spec.pop("pvcs", None) or [], services), "pvcs")
    spec["components"] = [_component(name, dict(services[name])) for name in sorted(services)]
    return _renamed(old, "v1beta1", spec, ("services", "components"))


def _other_claims(claims: list[Json], services: Mapping[str, Json]) -> list[Json]:
    """Claims that no volume of a component stands for: these say more than that they exist."""
    mounted = {
        mount.get("name")
        for service in services.values()
        for mount in service.get("volumeMounts") or []
    }
    return [
        claim
        for claim in claims
        if claim.get("name") not in mounted or claim != {"name": claim["name"], "create": False}
    ]


def graph_to_v1alpha1(new: Mapping[str, Any]) -> Json:
    """A deployment with components as one with services."""
    spec = section(new, "spec")
    claims = {entry.get("name"): entry for entry in spec.pop("pvcs", None) or []}
    services = {}
    for component in spec.pop("components", None) or []:
        services[component["name"]] = _service(dict(component), claims)
    if claims:
        spec["pvcs"] = list(claims.values())
    spec["services"] = services
    return _renamed(new, "v1alpha1", spec, ("components", "services"))


def adapter_to_v1beta1(old: Mapping[str, Any]) -> Json:
    """An adapter of a service as one of a component."""
    return _adapter(old, "v1beta1", "serviceName", "componentName")


def adapter_to_v1alpha1(new: Mapping[str, Any]) -> Json:
    """An adapter of a component as one of a service."""
    return _adapter(new, "v1alpha1", "componentName", "serviceName")


def _adapter(data: Mapping[str, Any], version: str, before: str, after: str) -> Json:
    spec = section(data, "spec")
    ref = section(spec, "dgdRef")
    if before in ref:
        ref[after] = ref.pop(before)
    spec["dgdRef"] = ref
    return {**data, "apiVersion": f"nvidia.com/{version}", "spec": spec}


def _component(name: str, service: Json) -> Json:
    kind, sub = service.get("componentType"), service.get("subComponentType")
    component: Json = {"name": name}
    put(component, sub if kind == "worker" and sub in _SUB_TYPES else kind, "type")
    component |= {k: v for k, v in service.items() if k not in _MOVED}
    if sub is not None and sub not in _SUB_TYPES:
        component["subComponentType"] = sub
    if section(service, "scalingAdapter").get("enabled"):
        component["scalingAdapter"] = {}
    template = _template(service)
    if template:
        component["podTemplate"] = template
    return component


def _template(service: Mapping[str, Any]) -> Json:
    pod = section(service, "extraPodSpec")
    main = {"name": MAIN, **(pod.pop("mainContainer", None) or {})}
    put(main, _with_resources(main, section(service, "resources")), "resources")
    mounts, volumes = list(main.get("volumeMounts") or []), list(pod.get("volumes") or [])
    for mount in service.get("volumeMounts") or []:
        claim = mount.get("name")
        rest = {k: v for k, v in mount.items() if k not in {"name", "mountPoint"}}
        mounts.append({"name": claim, "mountPath": mount.get("mountPoint"), **rest})
        volumes.append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
    put(main, mounts, "volumeMounts")
    put(pod, volumes, "volumes")
    put(main, [*(main.get("env") or []), *(service.get("envs") or [])], "env")
    if service.get("envFromSecret"):
        secret = {"secretRef": {"name": service["envFromSecret"]}}
        main["envFrom"] = [*(main.get("envFrom") or []), secret]
    template: Json = {}
    put(template, section(service, "extraPodMetadata"), "metadata")
    if pod or len(main) > 1:
        pod["containers"] = [main, *(pod.pop("containers", None) or [])]
        template["spec"] = pod
    return template


def _service(component: Json, claims: Json) -> Json:
    kind = component.pop("type", None)
    adapter, template = component.pop("scalingAdapter", None), component.pop("podTemplate", None)
    component.pop("name")
    service: Json = {}
    if kind in _SUB_TYPES:
        service |= {"componentType": "worker", "subComponentType": kind}
    else:
        put(service, kind, "componentType")
    service |= component
    if adapter is not None:
        service["scalingAdapter"] = {"enabled": True}
    put(service, section(template, "metadata"), "extraPodMetadata")
    pod = section(template, "spec")
    containers = pod.pop("containers", None) or []
    main = dict(next((c for c in containers if c.get("name") == MAIN), {}))
    others = [c for c in containers if c.get("name") != MAIN]
    main.pop("name", None)
    put(service, service_resources(section(main, "resources")), "resources")
    main.pop("resources", None)
    _split_volumes(service, pod, main, claims)
    put(pod, others, "containers")
    put(pod, main, "mainContainer")
    put(service, pod, "extraPodSpec")
    return service


def _split_volumes(service: Json, pod: Json, main: Json, claims: Json) -> None:
    """Volumes named after their claim become mounts of the service."""
    volumes = pod.pop("volumes", None) or []
    own = {
        v["name"]
        for v in volumes
        if section(v, "persistentVolumeClaim") == {"claimName": v.get("name")}
    }
    for name in sorted(own):
        claims.setdefault(name, {"name": name, "create": False})
    mounts = main.pop("volumeMounts", None) or []
    put(main, [m for m in mounts if m.get("name") not in own], "volumeMounts")
    put(pod, [v for v in volumes if v.get("name") not in own], "volumes")
    moved = [
        {
            "name": m["name"],
            "mountPoint": m.get("mountPath"),
            **{k: v for k, v in m.items() if k not in {"name", "mountPath"}},
        }
        for m in mounts
        if m.get("name") in own
    ]
    put(service, moved, "volumeMounts")


def _with_resources(main: Mapping[str, Any], resources: Json) -> Json:
    """Resources of a container with those of its service, which count first."""
    result = section(main, "resources")
    for group, amounts in _container_resources(resources).items():
        both = isinstance(amounts, Mapping) and isinstance(result.get(group), Mapping)
        result[group] = {**result[group], **amounts} if both else amounts
    return result


def _container_resources(resources: Json) -> Json:
    """Resources of a service as those of a container: ``gpu`` and ``custom`` have other names."""
    result = dict(resources)
    for group in _AMOUNTS:
        amounts = section(resources, group)
        custom = section(amounts, "custom")
        named = {
            _GPU if key == "gpu" else key: value
            for key, value in amounts.items()
            if key != "custom"
        }
        put(result, {**named, **custom}, group)
    return result


def service_resources(resources: Json) -> Json:
    """Resources of a container as those of a service."""
    result = dict(resources)
    for group in _AMOUNTS:
        amounts = section(resources, group)
        named = {
            "gpu" if key == _GPU else key: amounts.pop(key) for key in _NAMED if key in amounts
        }
        put(named, amounts, "custom")
        put(result, named, group)
    return result


def _renamed(data: Mapping[str, Any], version: str, spec: Json, parts: tuple[str, str]) -> Json:
    before, after = parts
    result = {**data, "apiVersion": f"nvidia.com/{version}", "spec": spec}
    if "status" in data:
        status = section(data, "status")
        if before in status:
            status[after] = status.pop(before)
        result["status"] = status
    return result
