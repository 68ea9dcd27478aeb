"""Deployments without NVIDIA's operator: objects, status, scaling, refusals."""

from __future__ import annotations

import contextlib

import pytest
from dgdr_fake_api import FakeApi, VirtualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from dgdr.operator.api import ApiError
from dgdr.operator.apply import Applier
from dgdr.operator.cache import Cache
from dgdr.operator.events import EventRecorder
from dgdr.operator.graphs import GRAPH_SOURCES, GraphController, graph_keys
from dgdr.operator.informer import Informer
from dgdr.operator.resources import _PLURALS, ADAPTERS, GRAPHS
from dgdr.reconcile.actions import Ref
from dgdr.reconcile.settings import OperatorSettings

NAMESPACE = "team-a"


def _component(name: str, kind: str, replicas: int | None = 1, **more):
    container = {"name": "main", "image": f"reg/{name.lower()}:1", "command": ["run"]}
    found = {"name": name, "type": kind, "podTemplate": {"spec": {"containers": [container]}}}
    return found | ({} if replicas is None else {"replicas": replicas}) | more


COMPONENTS = [
    _component("Frontend", "frontend"),
    _component("prefill", "prefill", 2, scalingAdapter={}),
    _component("decode", "decode", 3, scalingAdapter={}),
    _component("Planner", "planner", None),
]


class Cluster:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.api = FakeApi(self.clock)
        self.sets = False
        self.api.serves = lambda resource: self.sets
        cache = Cache(self.api)
        self.informers = [
            Informer(self.api, resource, lambda _: None, selector=selector)
            for resource, selector in GRAPH_SOURCES
        ]
        for informer in self.informers:
            cache.add(informer.mirror)
        applier = Applier(cache, EventRecorder(self.api, self.clock, "op"))
        self.controller = GraphController(
            self.api, cache, self.api, applier, self.clock, OperatorSettings()
        )

    def submit(self, components=COMPONENTS, name="demo"):
        metadata = {"name": name, "namespace": NAMESPACE}
        base = {"apiVersion": "nvidia.com/v1beta1", "kind": GRAPHS.kind, "metadata": metadata}
        self.api.create({**base, "spec": {"components": components}})

    def process(self) -> float | None:
        """One pass after everything was seen."""
        for informer in self.informers:
            informer.run_once()
        return self.controller.process(f"{NAMESPACE}/demo")

    def settle(self) -> float | None:
        for _ in range(20):
            version = self.api.version
            again_s = self.process()
            if self.api.version == version:
                return again_s
        raise AssertionError("does not come to rest")

    def find(self, kind: str, name: str):
        return self.api.objects.get((kind, NAMESPACE, name))

    @property
    def graph(self):
        return self.find(GRAPHS.kind, "demo")

    def ready(self) -> tuple[str, str, str]:
        (found,) = [c for c in self.graph["status"]["conditions"] if c["type"] == "Ready"]
        return found["status"], found["reason"], found["message"]

    def run_pods(self, only: str = "") -> None:
        for (kind, _, name), item in list(self.api.objects.items()):
            if kind in ("Deployment", "LeaderWorkerSet") and only in name:
                keys = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
                status = dict.fromkeys(keys, item["spec"]["replicas"])
                status["observedGeneration"] = item["metadata"]["generation"]
                self.api.patch(Ref.of(item), {"status": status}, status=True)


@pytest.fixture
def cluster():
    return Cluster()


def test_every_component_gets_a_deployment_and_a_service(cluster):
    cluster.submit()
    assert cluster.settle() == 60.0
    for component in COMPONENTS:
        name = f"demo-{component['name'].lower()}"
        deployment = cluster.find("Deployment", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert labels["nvidia.com/dynamo-graph-deployment-name"] == "demo"
        assert labels["nvidia.com/dynamo-component"] == component["name"]
        assert labels["nvidia.com/dynamo-component-type"] == component["type"]
        assert labels["nvidia.com/selector"] == name
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert cluster.find("Service", name)["spec"]["selector"] == {"nvidia.com/selector": name}
        (owner,) = deployment["metadata"]["ownerReferences"]
        assert owner["uid"] == cluster.graph["metadata"]["uid"]
        assert deployment["spec"]["replicas"] == component.get("replicas", 1)
    assert cluster.find("Service", "demo-frontend")["spec"]["ports"][0]["port"] == 8000


def test_pods_know_their_place(cluster):
    cluster.submit()
    cluster.settle()
    pod = cluster.find("Deployment", "demo-decode")["spec"]["template"]["spec"]
    (main,) = pod["containers"]
    env = {entry["name"]: entry.get("value") for entry in main["env"]}
    assert env["DYN_PARENT_DGD_K8S_NAME"] == "demo"
    assert "POD_NAMESPACE" in env
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert main["command"] == ["run"]
    planner = cluster.find("Deployment", "demo-planner")["spec"]["template"]["spec"]
    assert planner["serviceAccountName"] == "dgdr-planner"
    assert cluster.find("RoleBinding", "dgdr-planner")["roleRef"]["name"] == "dgdr-planner"
    assert "volumes" not in planner
    frontend = cluster.find("Deployment", "demo-frontend")["spec"]["template"]["spec"]
    assert frontend["serviceAccountName"] == "dgdr-frontend"
    assert cluster.find("RoleBinding", "dgdr-frontend")["roleRef"]["name"] == "dgdr-frontend"


def test_status_follows_the_pods(cluster):
    cluster.submit()
    cluster.settle()
    assert cluster.graph["status"]["state"] == "pending"
    assert cluster.ready() == (
        "False",
        "some_resources_are_not_ready",
        "resources not ready: [Frontend, prefill, decode, Planner]",
    )
    cluster.run_pods("decode")
    cluster.settle()
    assert cluster.ready()[2] == "resources not ready: [Frontend, prefill, Planner]"
    cluster.run_pods()
    assert cluster.settle() is None
    assert cluster.graph["status"]["state"] == "successful"
    assert cluster.ready()[:2] == ("True", "all_resources_are_ready")
    assert cluster.graph["status"]["components"]["decode"] == {
        "componentKind": "Deployment",
        "componentNames": ["demo-decode"],
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert cluster.graph["status"]["observedGeneration"] == 1


def test_an_adapter_owns_the_replicas(cluster):
    cluster.submit()
    cluster.settle()
    cluster.run_pods()
    cluster.settle()
    adapter = cluster.find(ADAPTERS.kind, "demo-decode")
    assert adapter["spec"] == {
        "replicas": 3,
        "dgdRef": {"name": "demo", "componentName": "decode"},
    }
    assert adapter["status"] == {"replicas": 3, "selector": "nvidia.com/selector=demo-decode"}
    assert cluster.find(ADAPTERS.kind, "demo-frontend") is None
    cluster.api.patch(Ref.of(adapter), {"spec": {"replicas": 5}})
    cluster.settle()
    assert cluster.find("Deployment", "demo-decode")["spec"]["replicas"] == 5
    assert "lastScaleTime" in cluster.find(ADAPTERS.kind, "demo-decode")["status"]
    assert cluster.graph["status"]["state"] == "pending"
    cluster.run_pods()
    cluster.settle()
    assert cluster.graph["status"]["components"]["decode"]["replicas"] == 5
    assert cluster.find(ADAPTERS.kind, "demo-decode")["status"]["replicas"] == 5
    changed = [{**c, "replicas": 9} if c["name"] == "decode" else c for c in COMPONENTS]
    cluster.api.patch(Ref.of(cluster.graph), {"spec": {"components": changed}})
    cluster.settle()
    assert cluster.find("Deployment", "demo-decode")["spec"]["replicas"] == 5


def test_components_can_change_and_go(cluster):
    cluster.submit()
    cluster.settle()
    image = cluster.find("Deployment", "demo-decode")
    assert image["spec"]["template"]["spec"]["containers"][0]["image"] == "reg/decode:1"
    changed = [COMPONENTS[0], _component("decode", "decode", 3)]
    changed[1]["podTemplate"]["spec"]["containers"][0]["image"] = "reg/decode:2"
    cluster.api.patch(Ref.of(cluster.graph), {"spec": {"components": changed}})
    cluster.settle()
    main = cluster.find("Deployment", "demo-decode")["spec"]["template"]["spec"]["containers"][0]
    assert main["image"] == "reg/decode:2"
    for kind in ("Deployment", "Service", ADAPTERS.kind):
        assert cluster.find(kind, "demo-prefill") is None
    assert cluster.find(ADAPTERS.kind, "demo-decode") is None
    assert "Planner" not in cluster.graph["status"]["components"]


def test_multinode_needs_an_orchestrator(cluster):
    wide = [_component("decode", "decode", 1, multinode={"nodeCount": 2})]
    cluster.submit(wide)
    cluster.settle()
    assert cluster.graph["status"]["state"] == "failed"
    assert cluster.ready() == (
        "False",
        "no_multinode_orchestrator",
        "no multinode orchestrator available, needed by decode",
    )
    assert cluster.find("Deployment", "demo-decode") is None
    cluster.sets = True
    cluster.settle()
    made = cluster.find("LeaderWorkerSet", "demo-decode")
    assert made["spec"]["leaderWorkerTemplate"]["size"] == 2
    cluster.run_pods()
    cluster.settle()
    entry = cluster.graph["status"]["components"]["decode"]
    assert entry["componentKind"] == "LeaderWorkerSet"
    assert "availableReplicas" not in entry
    assert cluster.graph["status"]["state"] == "successful"


def test_names_that_differ_in_case_only(cluster):
    cluster.submit([_component("A", "worker"), _component("a", "worker")])
    cluster.settle()
    assert cluster.ready()[1] == "invalid_components"


def test_objects_of_somebody_else_are_left_alone(cluster):
    metadata = {"name": "demo-decode", "namespace": NAMESPACE}
    spec = {"replicas": 7}
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    cluster.api.create(other)
    cluster.submit()
    cluster.settle()
    assert cluster.ready()[1] == "name_conflict"
    assert "Deployment demo-decode" in cluster.ready()[2]
    assert cluster.find("Deployment", "demo-decode")["spec"] == spec


def test_a_missing_config_map_is_named(cluster):
    component = _component("Planner", "planner")
    volume = {"name": "v", "configMap": {"name": "planner-config-abcd"}}
    component["podTemplate"]["spec"]["volumes"] = [volume]
    cluster.submit([component])
    cluster.settle()
    assert cluster.ready()[2].endswith("ConfigMaps not found: planner-config-abcd")


def test_a_refused_object_is_reported(cluster):
    def refuse(verb, ref):
        if ref.kind == "Deployment":
            raise ApiError(422, "Invalid", "image: Required value")

    cluster.api.before_write = refuse
    cluster.submit([COMPONENTS[0]])
    cluster.process()
    messages = [v["message"] for (kind, *_), v in cluster.api.objects.items() if kind == "Event"]
    assert any("image: Required value" in message for message in messages)
    assert cluster.find("Service", "demo-frontend") is not None


def test_a_deleted_deployment_takes_its_objects_along(cluster):
    cluster.submit()
    cluster.settle()
    cluster.api.delete(Ref.of(cluster.graph), cluster.graph["metadata"]["uid"])
    assert cluster.process() is None
    left = {kind for kind, *_ in cluster.api.objects}
    assert left <= {"RoleBinding", "ServiceAccount", "Event"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["pass", "pods", "scale", "edit", "fault", "see"]), st.integers(0, 6)
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(steps=STEPS)
def test_any_interleaving_ends_as_wished(steps):
    cluster = Cluster()
    cluster.submit()
    wanted = {"prefill": 2, "decode": 3}
    for step, number in steps:
        adapter = cluster.find(ADAPTERS.kind, "demo-decode")
        if step == "pods":
            cluster.run_pods()
        elif step == "scale" and adapter is not None:
            wanted["decode"] = number
            FakeApi.patch(cluster.api, Ref.of(adapter), {"spec": {"replicas": number}})
        elif step == "see":  # one kind at a time, the others stay behind
            cluster.informers[number % len(cluster.informers)].run_once()
        elif step == "edit":
            changed = [
                {**c, "replicas": number} if c["name"] == "Frontend" else c for c in COMPONENTS
            ]
            cluster.api.patch(Ref.of(cluster.graph), {"spec": {"components": changed}})
        else:
            _disturbed_pass(cluster, number if step == "fault" else 0)
    for _ in range(3):
        cluster.settle()
        cluster.run_pods()
    cluster.settle()
    assert cluster.graph["status"]["state"] == "successful"
    components = cluster.graph["status"]["components"]
    assert {name: components[name]["replicas"] for name in wanted} == wanted
    kinds = [kind for kind, *_ in cluster.api.objects]
    assert (kinds.count("Deployment"), kinds.count("Service")) == (4, 4)
    assert kinds.count(ADAPTERS.kind) == 2
    assert max(cluster.api.created.values()) == 1


def _disturbed_pass(cluster: Cluster, fail_at: int) -> None:
    """One pass, of which one write fails; 0 disturbs none."""
    writes = []

    def before(verb, ref):
        writes.append(verb)
        if len(writes) == fail_at:
            raise ApiError(409, "Conflict", "somebody else was faster")

    cluster.api.before_write = before
    with contextlib.suppress(ApiError):
        cluster.controller.process(f"{NAMESPACE}/demo")
    cluster.api.before_write = lambda verb, ref: None


def test_which_deployment_an_object_concerns(cluster):
    cluster.submit()
    cluster.settle()
    for kind in ("Deployment", "Service", ADAPTERS.kind):
        assert graph_keys(cluster.find(kind, "demo-decode")) == ["team-a/demo"]
    assert graph_keys(cluster.graph) == ["team-a/demo"]
    assert graph_keys(cluster.find("RoleBinding", "dgdr-planner")) == []
    assert len(_PLURALS) > 10


def test_components_are_ready_when_they_answer_and_frontends_know_their_workers():
    cluster = Cluster()
    own = {"tcpSocket": {"port": 1}}
    components = [*COMPONENTS, _component("extra", "worker")]
    container = components[-1]["podTemplate"]["spec"]["containers"][0]
    components[-1]["podTemplate"]["spec"]["containers"] = [{**container, "readinessProbe": own}]
    cluster.submit(components)
    cluster.settle()

    def main(name: str):
        found = cluster.find("Deployment", f"demo-{name}")
        return found["spec"]["template"]["spec"]["containers"][0]

    variables = {each["name"]: each.get("value") for each in main("frontend")["env"]}
    assert variables["DGDR_WORKERS"] == "prefill=demo-prefill,decode=demo-decode,worker=demo-extra"
    assert "DGDR_WORKERS" not in {each["name"] for each in main("decode")["env"]}
    assert main("frontend")["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    assert main("decode")["readinessProbe"]["httpGet"] == {"path": "/health", "port": 9090}
    assert main("extra")["readinessProbe"] == own
    assert "readinessProbe" not in main("planner")
