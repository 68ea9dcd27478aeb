"""What a container finds below its working directory."""

from __future__ import annotations

from harness.cluster.node.environment import linked


def test_mounts_below_the_working_directory_are_there_for_relative_paths(tmp_path):
    place, curves, cache = (tmp_path / name for name in ("root", "curves", "cache"))
    for folder in (place, curves, cache):
        folder.mkdir()
    (curves / "data.json").write_text("{}")
    mounts = {"/workspace/a/profiling_results": str(curves), "/cache": str(cache)}
    for _ in range(2):  # a container that starts again finds what is there
        linked(place, "/workspace/", mounts)
    assert (place / "a" / "profiling_results" / "data.json").read_text() == "{}"
    assert [entry.name for entry in place.iterdir()] == ["a"]
