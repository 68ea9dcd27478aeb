import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness_synthetic_run import (
    FAULT,
    PARETO,
    SCENARIO_TEXT,
    WORKER_EVENTS,
    decisions,
    manifest,
    plan,
    rung_run,
    setup,
    verdict,
)

from contracts.errors import InputError, InvariantError
from contracts.records import RequestTable
from harness.store import Outcome, RunFolder, RunStatus, environment, load_run
from harness.store.files import replace_file, write_text


def create(root, **changes):
    return RunFolder.create(root, manifest(**changes), now_text=lambda: "20260102T040000Z")


def same_table(left, right):
    for name in RequestTable.__dataclass_fields__:
        assert getattr(left, name).tolist() == getattr(right, name).tolist(), name
    return True


def test_names_count_up_and_the_manifest_is_there_at_once(tmp_path):
    with create(tmp_path / "runs") as first, create(tmp_path / "runs") as second:
        assert first.path.name == "20260102T030405Z-quickstart-1"
        assert second.path.name == "20260102T030405Z-quickstart-2"
        loaded = load_run(first.path)
    assert loaded.manifest.status is RunStatus.RUNNING
    assert loaded.manifest.scenario_text == SCENARIO_TEXT
    assert loaded.runs == ()
    assert loaded.verdict is None
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        first.path.name,
        second.path.name,
    ]


def test_everything_comes_back(tmp_path):
    written = [rung_run("sim", 1), rung_run("sim", 2), rung_run("mock", 1)]
    with create(tmp_path) as folder:
        folder.add_input("dgdr.yaml", b"kind: X\n")
        folder.write_setup(setup())
        for run in written:
            folder.add_run(run)
        folder.write_text("profile/pareto.json", PARETO)
        folder.finish(verdict())
    loaded = load_run(folder.path)
    assert loaded.manifest.status is RunStatus.COMPLETE
    assert loaded.manifest.finished == "20260102T040000Z"
    assert loaded.manifest.rerun_line == manifest().rerun_line
    assert loaded.manifest.command_line == ("harness", "run", "scenarios/quickstart.yaml")
    assert (folder.path / "inputs/dgdr.yaml").read_bytes() == b"kind: X\n"
    assert len(loaded.manifest.inputs["dgdr.yaml"]) == 64
    assert loaded.setup == setup()
    assert loaded.setup.plan == plan()
    assert loaded.verdict == verdict()
    assert loaded.pareto is not None
    assert (loaded.pareto.picked, len(loaded.pareto.points)) == ("disagg tp2+tp2", 5)
    assert loaded.rungs() == ("sim", "mock")
    assert [r.seed for r in loaded.of_rung("sim")] == [1, 2]
    for before, after in zip(written, loaded.runs, strict=True):
        assert (after.rung, after.seed, after.load) == (before.rung, before.seed, before.load)
        assert same_table(after.record.table, before.record.table)
        assert after.record.worker_events == WORKER_EVENTS
        assert after.record.faults == (FAULT,)
        assert after.record.digest == before.record.digest
        assert after.record.duration_s == 124.0
        assert after.decisions == decisions()


def test_the_parquet_files_are_plain_tables(tmp_path):
    with create(tmp_path) as folder:
        folder.add_run(rung_run("sim", 3))
        folder.add_run(rung_run("mock", 3))
    requests = pd.read_parquet(folder.path / "requests.parquet")
    assert requests.groupby("rung").size().to_dict() == {"sim": 600, "mock": 600}
    assert set(requests.seed) == {3}
    assert requests[requests.rung == "sim"].request_id.tolist() == list(range(600))
    ticks = pd.read_parquet(folder.path / "ticks.parquet")
    assert len(ticks) == 48
    assert ticks.decode_replicas.isna().tolist()[:2] == [True, False]
    assert ticks.agg_replicas.isna().all()
    assert json.loads(ticks.figures[1])["itl_ms_expected"] == 21.5
    assert json.loads((folder.path / "digests.json").read_text()) == {
        "sim/3": "abc123",
        "mock/3": None,
    }


def test_a_rung_without_events_ticks_and_requests(tmp_path):
    empty = np.empty(0, dtype=np.int64)
    table = RequestTable(
        arrival_ns=empty,
        isl=empty,
        osl=empty,
        first_token_ns=empty,
        finish_ns=empty,
        status=np.empty(0, dtype="<U1"),
        retries=empty,
        preemptions=empty,
    )
    run = rung_run(worker_events=(), faults=(), decisions=(), table=table)
    with create(tmp_path) as folder:
        folder.add_run(run)
    (loaded,) = load_run(folder.path).runs
    assert len(loaded.record.table) == 0
    assert loaded.decisions == ()
    assert loaded.record.worker_events == ()


def test_results_are_stored_once(tmp_path):
    with create(tmp_path) as folder:
        folder.add_run(rung_run())
        with pytest.raises(InvariantError, match="sim/1"):
            folder.add_run(rung_run())


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_leaves_an_incomplete_run_with_what_it_has(tmp_path, interrupt):
    folder = create(tmp_path)
    folder.add_run(rung_run())
    with pytest.raises(interrupt), folder:
        raise interrupt
    loaded = load_run(folder.path)
    assert loaded.manifest.status is RunStatus.INCOMPLETE
    assert loaded.manifest.reason == f"interrupted: {interrupt.__name__}"
    assert len(loaded.runs) == 1


def test_an_error_leaves_a_failed_run_with_its_reason(tmp_path):
    with pytest.raises(InputError), create(tmp_path) as folder:
        raise InputError("no such model", path="spec.model")
    loaded = load_run(folder.path)
    assert loaded.manifest.status is RunStatus.FAILED
    assert loaded.manifest.reason == "InputError: spec.model: no such model"


def test_an_error_after_the_verdict_is_still_a_failure(tmp_path):
    folder = create(tmp_path)
    folder.finish(verdict(Outcome.PASS))
    with pytest.raises(OSError, match="disk"), folder:
        raise OSError("disk")
    assert load_run(folder.path).manifest.status is RunStatus.FAILED


def test_leaving_without_a_verdict_is_incomplete(tmp_path):
    with create(tmp_path) as folder:
        pass
    loaded = load_run(folder.path)
    assert loaded.manifest.status is RunStatus.INCOMPLETE
    assert loaded.manifest.reason == "the run ended before its verdict"


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.store import RunFolder
from harness_synthetic_run import manifest, rung_run
with RunFolder.create(Path(sys.argv[1]), manifest()) as folder:
    folder.add_run(rung_run())
    print(folder.path, flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_is_noticed(tmp_path):
    roots = [str(Path(__file__).parent), str(Path(__file__).parents[3])]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(roots)},
    ) as writer:
        path = Path(writer.stdout.readline().strip())
        assert load_run(path).manifest.status is RunStatus.RUNNING
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        loaded = load_run(path)
    assert loaded.manifest.status is RunStatus.INCOMPLETE
    assert "is gone" in loaded.manifest.reason
    assert len(loaded.runs) == 1


def test_a_failed_creation_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        create(tmp_path, scenario="no/such")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def half(temporary):
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(path, half)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_inputs_stay_inside_the_folder(tmp_path):
    with create(tmp_path) as folder, pytest.raises(InvariantError, match="would leave"):
        folder.add_input("../manifest.json", b"")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="has no manifest"):
        load_run(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    with create(tmp_path) as folder:
        folder.write_text("verdict.json", '{"outcome": "maybe", "checks": []}')
    with pytest.raises(InputError, match=r"verdict\.json: outcome"):
        load_run(folder.path)


def test_the_environment_names_versions_and_commit():
    versions, system = environment(Path(__file__).parents[3])
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["numpy"] == np.__version__
    assert int(system["cpus"]) >= 1


def test_a_folder_without_checkout_has_no_commit(tmp_path):
    assert "commit" not in environment(tmp_path)[0]
