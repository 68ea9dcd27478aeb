"""What holds for every journal, patch and apply."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cluster.objects.meta import copied
from harness.cluster.patching import apply_config, merge_patch
from harness.cluster.patching.managed import Author
from harness.cluster.store import Journal, Store

NAMES = st.sampled_from("abc")
WRITES = st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers())), max_size=12)
LEAVES = st.one_of(st.integers(), st.booleans(), st.text("pq", max_size=3))
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(st.sampled_from("xyz"), TREES, max_size=3)


def run(store: Store, writes: list[tuple[str, int | None]]) -> list[dict[str, int]]:
    """Apply writes; returns the state after each version."""
    states: list[dict[str, int]] = [{}]
    for name, value in writes:
        if value is not None:
            metadata = {"name": name, "namespace": ""}
            store.put("things", {"metadata": metadata, "value": value})
            states.append({**states[-1], name: value})
        elif name in states[-1]:
            store.remove("things", "", name)
            states.append({key: v for key, v in states[-1].items() if key != name})
    return states


def state(objects: list[Any]) -> dict[str, int]:
    return {obj["metadata"]["name"]: obj["value"] for obj in objects}


@settings(max_examples=60, deadline=None)
@given(writes=WRITES, cut=st.integers(0, 400))
def test_a_cut_journal_restores_an_earlier_state(
    writes: list[tuple[str, int | None]], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Journal(Path(folder)))
        states = run(store, writes)
        store.close()
        path = Path(folder) / "journal.log"
        content = path.read_bytes()
        path.write_bytes(content[: max(0, len(content) - cut)])
        again = Store(Journal(Path(folder)))
        assert state(again.list("things")) == states[again.version]
        assert cut > 0 or again.version == len(states) - 1
        again.close()


@settings(max_examples=60, deadline=None)
@given(writes=WRITES)
def test_every_past_state_can_be_listed(writes: list[tuple[str, int | None]]) -> None:
    store = Store()
    states = run(store, writes)
    for version, wanted in enumerate(states):
        assert state(store.list_at("things", version, None)) == wanted


@given(old=OBJECTS, patch=OBJECTS)
def test_merge_patches_are_idempotent_and_leave_the_old_alone(old: Any, patch: Any) -> None:
    before = copied(old)
    once = merge_patch(old, patch)
    assert merge_patch(once, patch) == once
    assert old == before


@given(first=OBJECTS, second=OBJECTS, third=OBJECTS)
def test_apply_ends_with_what_its_managers_want(first: Any, second: Any, third: Any) -> None:
    def apply(live: Any, spec: Any, name: str) -> Any:
        author = Author(manager=name, subresource="", api_version="v1", now="t")
        return apply_config(live, {"spec": spec}, {}, author, force=True)

    live = apply(apply(apply(None, first, "a"), second, "b"), third, "a")
    assert apply(live, third, "a") == live
    assert merge_patch(live["spec"], third) == live["spec"]
