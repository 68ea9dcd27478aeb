"""Journals: what was seen can be read back, and gives the same decisions through every adapter."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import httpx
import pytest
from kubernetes_world import World
from planner_samples import config, model, snapshot

from contracts.decision import Decision
from contracts.errors import InputError
from contracts.observation import ClusterSnapshot
from planner.adapters.connected import ConnectedPlanner
from planner.adapters.http import HttpPlannerAdapter
from planner.adapters.journal import JournalWriter, read_journal, replay
from planner.adapters.sim import sim_control
from planner.loop import Blind, Planner, View

# Arrivals in each interval: a rise, a silence, an outage (None), a rise again.
STORY = (0, 20, 60, 61, 80, None, 75, 10, 3, 0, 0, 0, 0, 0, 40)


def recorded(path: Path) -> list[Decision]:
    """The Kubernetes adapter against a deployment whose pods follow its orders."""
    world = World(now_s=0.0)
    planner = Planner(config(), model())

    async def play() -> None:
        with path.open("w") as sink:
            writer = JournalWriter(sink, planner.config.digest)
            adapter = ConnectedPlanner(planner, world.connector(config()), on_view=writer)
            for arrivals in STORY:
                world.of("Frontend")[0].silent = arrivals is None
                world.of("decode")[0].waiting = (arrivals or 0) // 2
                await adapter.tick()
                world.settle()
                world.advance(5.0 + (arrivals or 0) / 1000, arrivals or 0)

    asyncio.run(play())
    return planner.decisions


def over_http(views: tuple[View, ...]) -> list[Decision]:
    """The HTTP adapter against a server that shows the journal, and is away when it was blind."""
    left = list(views)
    planner = Planner(config(), model())

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200)
        view = left.pop(0)
        assert isinstance(view, ClusterSnapshot)
        return httpx.Response(200, text=json.dumps(dataclasses.asdict(view)))

    async def play() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            adapter = HttpPlannerAdapter(planner, client, "http://journal")
            while left:
                if isinstance(left[0], Blind):
                    planner.on_view(left.pop(0))
                else:
                    await adapter.tick()

    asyncio.run(play())
    return planner.decisions


def in_the_simulator(views: tuple[View, ...]) -> list[Decision]:
    """The simulator's control, which shows the planner the start of the run by itself."""
    planner = Planner(config(), model())
    control = sim_control(planner)
    for view in views[1:]:
        if isinstance(view, Blind):
            planner.on_view(view)
        else:
            control.act(view)
    return planner.decisions


def test_one_journal_gives_the_same_decisions_in_every_world(tmp_path):
    path = tmp_path / "journal"
    decided = recorded(path)
    journal = read_journal(path)
    assert journal.config_digest == config().digest
    assert len(journal.views) == len(STORY)
    assert len({tuple(d.targets) for d in decided}) >= 4
    assert sum(d.held for d in decided) >= 2
    assert replay(Planner(config(), model()), journal.views) == decided
    assert over_http(journal.views) == decided
    # The first look decides nothing; only what it shows of the workers differs.
    assert in_the_simulator(journal.views)[1:] == decided[1:]


def test_the_same_digest_is_the_same_configuration():
    assert config().digest == config().digest != config(startup_s=21.0).digest


def test_a_line_that_was_cut_off_is_no_part_of_the_journal(tmp_path):
    path = tmp_path / "journal"
    with path.open("w") as sink:
        writer = JournalWriter(sink, "d")
        writer(snapshot(0.1, 1))
        writer(Blind(now_s=5.0, reason="lost"))
    path.write_text(path.read_text() + '{"snapshot": {"now_s": 1')
    assert read_journal(path).views == (snapshot(0.1, 1), Blind(now_s=5.0, reason="lost"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no journal"),
        ("[]\n", "must be an object"),
        ("{\n", "is no JSON"),
        ('{"journal": 2}\n', "no journal"),
        ('{"journal": 1}\n{"else": 1}\n', r":2: is no view \(got else\)"),
        ('{"journal": 1}\n{"blind": {"now_s": 1}}\n', ":2: reason"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path, text, words):
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_journal(path)


def test_a_missing_journal_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_journal(tmp_path / "nothing")
