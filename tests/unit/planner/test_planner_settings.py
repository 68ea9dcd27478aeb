"""Configuration files and curve files: what is read, what is refused and how."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from planner_samples import decode_curves, prefill_curves

from contracts.errors import CombinedInputError, InputError
from contracts.plan import Role
from planner.core import (
    AggFleet,
    DisaggFleet,
    LoadPredictor,
    PlannerConfig,
    PolicyName,
    SingleFleet,
    Thresholds,
)
from planner.settings import load_curves, load_settings, settings_from, to_config

MINIMAL = "prefill_engine_num_gpu: 1\ndecode_engine_num_gpu: 2\n"


def problem(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_settings(text, "planner.yaml")
    return caught.value


def save_curves(folder: Path, **changes: object) -> Path:
    prefill, decode = prefill_curves(), decode_curves()
    arrays = {
        "prefill": {
            name: getattr(prefill, name)
            for name in ("prefill_isl", "prefill_ttft", "prefill_thpt_per_gpu")
        },
        "decode": {
            name: getattr(decode, name)
            for name in ("x_kv_usage", "y_context_length", "z_itl", "z_thpt_per_gpu")
        }
        | {"max_kv_tokens": np.array([100_000])},
    }
    for phase, values in arrays.items():
        values |= {name: value for name, value in changes.items() if name in values}
        kept = {name: value for name, value in values.items() if value is not None}
        path = folder / f"selected_{phase}_interpolation"
        path.mkdir()
        np.savez(path / "raw_data.npz", **kept)
    return folder


def test_every_field_reaches_the_config():
    text = """
    mode: disagg
    backend: sglang
    optimization_target: sla
    ttft: 300
    itl_ms: 25.5
    throughput_adjustment_interval_seconds: 10
    max_gpu_budget: 12
    min_endpoint: 2
    prefill_engine_num_gpu: 1
    decode_engine_num_gpu: 2
    load_predictor: constant
    max_throughput_scaling_replicas: 3
    startup_s: 40
    headroom_ratio: 0.25
    scale_down_hold_s: 33
    stale_after_s: 22
    backlog_drain_s: 11
    trend_history_s: 77
    growth_ratio_max: 2
    expected_isl: 1000
    expected_osl: 100
    """
    config = to_config(load_settings(text, "planner.yaml"))
    assert isinstance(config.fleet, DisaggFleet)
    assert [(p.role, p.gpus_per_replica, p.min_replicas) for p in config.pools] == [
        (Role.PREFILL, 1, 2),
        (Role.DECODE, 2, 2),
    ]
    assert (config.sla.ttft_ms, config.sla.itl_ms) == (300.0, 25.5)
    assert (config.interval_s, config.startup_s, config.gpu_budget) == (10.0, 40.0, 12)
    assert (config.utilisation_target_ratio, config.step_replicas_max) == (0.75, 3)
    assert (config.scale_down_hold_s, config.stale_after_s) == (33.0, 22.0)
    assert (config.backlog_drain_s, config.trend_history_s) == (11.0, 77.0)
    assert (config.growth_ratio_max, config.load_predictor) == (2.0, LoadPredictor.CONSTANT)
    assert (config.isl_expected, config.osl_expected) == (1000.0, 100.0)


def test_defaults_derive_from_interval_and_startup():
    text = MINIMAL + "policy: headroom\nthroughput_adjustment_interval: 10\nstartup_s: 30\n"
    config = to_config(load_settings(text, "p"))
    assert config.scale_down_hold_s == 40.0
    assert config.backlog_drain_s == 40.0
    assert config.stale_after_s == 30.0
    assert config.trend_history_s == 60.0
    assert config.utilisation_target_ratio == 0.8
    assert config.load_predictor is LoadPredictor.TREND
    assert (config.sla.ttft_ms, config.sla.itl_ms, config.gpu_budget) == (500.0, 50.0, 8)


def test_the_sla_policy_is_the_default_and_looks_further_back():
    config = to_config(load_settings(MINIMAL + "throughput_adjustment_interval: 10\n", "p"))
    assert config.policy is PolicyName.SLA
    assert config.load_predictor is LoadPredictor.BLEND
    assert (config.scale_down_hold_s, config.trend_history_s) == (300.0, 900.0)
    assert config.utilisation_target_ratio == 1.0
    assert config.use_forecast
    assert config.use_load


def test_callers_may_know_better_and_derived_defaults_follow():
    text = MINIMAL + "policy: headroom\nexpected_isl: 900\nscale_down_hold_s: 99\n"
    settings = load_settings(text, "p")
    config = to_config(
        settings, interval_s=2.0, startup_s=4.0, isl_expected=1.0, osl_expected=100.0
    )
    assert (config.interval_s, config.startup_s, config.scale_down_hold_s) == (2.0, 4.0, 99.0)
    assert (config.stale_after_s, config.backlog_drain_s) == (6.0, 6.0)
    assert config.trend_history_s == 12.0
    assert (config.isl_expected, config.osl_expected) == (900.0, 100.0)
    assert to_config(settings, scale_down_hold_s=10.0).scale_down_hold_s == 10.0


def test_agg_uses_the_decode_engine_and_json_is_read():
    text = json.dumps({"mode": "agg", "decode_engine_num_gpu": 4, "max_gpu_budget": -1})
    config = to_config(load_settings(text, "planner_config.json"))
    assert isinstance(config.fleet, AggFleet)
    assert config.fleet.pool.gpus_per_replica == 4
    assert config.gpu_budget is None


def test_enabled_false_is_read():
    assert load_settings(MINIMAL + "enabled: false", "p").enabled is False
    assert load_settings(MINIMAL, "p").enabled is True


def test_missing_gpus_are_named():
    with pytest.raises(InputError, match="decode_engine_num_gpu: is required"):
        to_config(load_settings("mode: agg", "p"))


@pytest.mark.parametrize(
    "field", ["scheduling", "aic_interpolation", "global_planner_namespace", "plugin_registration"]
)
def test_upstream_fields_that_cannot_be_honoured_are_refused_with_the_reason(field):
    error = problem(f"{MINIMAL}{field}: 1\n")
    assert error.path == field
    assert "not supported here; " in error.message
    assert "max_gpu_budget" in (error.allowed or "")


@pytest.mark.parametrize(
    ("field", "default", "other"),
    [
        ("environment", "kubernetes", "virtual"),
        ("speculative_nextn", "0", "2"),
        ("log_dir", "null", "logs"),
    ],
)
def test_fields_without_effect_are_accepted_at_their_default_only(field, default, other):
    load_settings(f"{MINIMAL}{field}: {default}\n", "p")
    error = problem(f"{MINIMAL}{field}: {other}\n")
    assert error.path == field
    assert "not supported here; " in error.message


def test_unknown_keys_are_refused_with_a_hint():
    error = problem(MINIMAL + "max_gpu_buget: 4\n")
    assert error.path == "max_gpu_buget"
    assert "did you mean 'max_gpu_budget'?" in error.message


@pytest.mark.parametrize(
    ("line", "path", "allowed"),
    [
        ("mode: encode", "mode", "'agg', 'disagg', 'prefill' or 'decode'"),
        ("min_endpoint: -1", "min_endpoint", "at least 0"),
        ("prefill_min_endpoint: 0", "prefill_min_endpoint", "at least 1"),
        ("decode_scale_up_kv_rate: 101", "decode_scale_up_kv_rate", "at most 100"),
        ("ttft: -1", "ttft", "above 0"),
        ("itl_ms: 0", "itl_ms", "above 0"),
        ("headroom_ratio: 0.95", "headroom_ratio", "at most 0.9"),
    ],
)
def test_bad_values_name_the_field_as_written_and_what_is_allowed(line, path, allowed):
    error = problem(MINIMAL + line)
    assert (error.source, error.path, error.allowed) == ("planner.yaml", path, allowed)


@pytest.mark.parametrize("line", ["ttft_ms: '500'", "min_endpoint: 1.5", "startup_s: true"])
def test_types_are_strict(line):
    assert problem(MINIMAL + line).path == line.split(":")[0]


@pytest.mark.parametrize("line", ["startup_s: .nan", "ttft_ms: .inf"])
def test_numbers_are_finite(line):
    assert problem(MINIMAL + line).path == line.split(":")[0]


def test_a_name_and_its_alias_together_are_refused():
    error = problem(MINIMAL + "ttft: 1\nttft_ms: 2\n")
    assert "given twice" in error.message


def test_all_findings_come_together():
    error = problem(MINIMAL + "ttft: -1\nbogus: 1\nscheduling: {}\n")
    assert isinstance(error, CombinedInputError)
    assert [e.path for e in error.errors] == ["bogus", "scheduling", "ttft"]


@pytest.mark.parametrize("text", ["", "- 1", "{broken", "a: [1", "1: 2"])
def test_other_than_a_mapping_is_refused(text):
    assert problem(text).source == "planner.yaml"


def test_settings_from_a_mapping():
    settings = settings_from({"decode_engine_num_gpu": 1, "mode": "agg"}, "dgdr")
    assert to_config(settings).pools[0].role is Role.AGG


def test_curves_round_trip(tmp_path):
    prefill, decode = load_curves(save_curves(tmp_path))
    assert prefill.prefill_ttft.tolist() == [100.0, 200.0]
    assert decode.z_itl.tolist() == [10.0, 20.0, 40.0, 20.0, 40.0]
    assert decode.max_kv_tokens == 100_000


def test_max_kv_tokens_may_be_a_scalar(tmp_path):
    folder = save_curves(tmp_path, max_kv_tokens=np.int64(7))
    assert load_curves(folder)[1].max_kv_tokens == 7


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"selected_prefill_interpolation.*run the profiler"):
        load_curves(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("z_itl", None, "lacks arrays"),
        ("z_itl", np.array([1.0, np.nan, 1.0, 1.0, 1.0]), "z_itl.*not finite"),
        ("z_itl", np.array([1.0]), "equally long"),
        ("z_itl", np.array(["a"] * 5), "not a readable npz"),
        ("prefill_isl", np.array([object(), None]), "not a readable npz"),
        ("max_kv_tokens", np.array([1, 2]), "max_kv_tokens"),
        ("max_kv_tokens", np.array([0]), "max_kv_tokens"),
    ],
)
def test_unusable_arrays_are_refused(tmp_path, name, value, message):
    with pytest.raises(InputError, match=message):
        load_curves(save_curves(tmp_path, **{name: value}))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    save_curves(tmp_path)
    (tmp_path / "selected_decode_interpolation" / "raw_data.npz").write_text("nonsense")
    with pytest.raises(InputError, match="not a readable npz"):
        load_curves(tmp_path)


def test_a_plain_npy_in_place_of_an_npz_is_refused(tmp_path):
    save_curves(tmp_path)
    with (tmp_path / "selected_decode_interpolation" / "raw_data.npz").open("wb") as file:
        np.save(file, np.array([1.0]))
    with pytest.raises(InputError, match="not a readable npz"):
        load_curves(tmp_path)


def converted(text: str) -> PlannerConfig:
    return to_config(load_settings(MINIMAL + text, "p"))


def test_targets_of_upstream_are_thresholds():
    latency = converted("optimization_target: latency\ncontext_length: 10000\n")
    assert latency.policy is PolicyName.REACTIVE
    assert latency.interval_s == 5.0
    assert latency.thresholds == Thresholds(
        prefill_up=1000.0, prefill_down=0.0, decode_up=0.4, decode_down=0.1
    )
    throughput = converted("optimization_target: throughput\ncontext_length: 10000\n")
    assert (throughput.thresholds.prefill_up, throughput.thresholds.decode_up) == (10_000.0, 1.0)


def test_load_thresholds_are_the_users_and_required():
    text = "optimization_target: load\nprefill_scale_up_queue_tokens: 5000\n"
    assert "prefill_scale_down_queue_tokens" in problem(MINIMAL + text).message
    text += "prefill_scale_down_queue_tokens: 500\ndecode_scale_up_kv_rate: 80\n"
    config = converted(text + "decode_scale_down_kv_rate: 40\n")
    assert config.thresholds == Thresholds(
        prefill_up=5000.0, prefill_down=500.0, decode_up=0.8, decode_down=0.4
    )
    crossed = problem(MINIMAL + text + "decode_scale_down_kv_rate: 90\n")
    assert "must be above decode_scale_down_kv_rate" in crossed.message


def test_load_scaling_ticks_at_its_own_interval():
    both = "enable_load_scaling: true\nload_adjustment_interval: 7\n"
    assert converted(both).interval_s == 7.0
    hybrid = converted(both + "policy: throughput\n")
    assert (hybrid.interval_s, hybrid.slow_interval_s) == (7.0, 180.0)
    assert hybrid.trend_history_s == 50 * 180.0
    blind = converted("enable_load_scaling: false\n")
    assert (blind.use_load, blind.interval_s) == (False, 180.0)
    present = converted("enable_throughput_scaling: false\nenable_load_scaling: true\n")
    assert (present.use_forecast, present.use_load) == (False, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("enable_throughput_scaling: false\n", "at least one must be true"),
        (
            "enable_load_scaling: true\nload_adjustment_interval_seconds: 180\n",
            "must be below throughput_adjustment_interval_seconds",
        ),
        ("enable_power_awareness: true\ntotal_gpu_power_limit: 5000\n", "gpu_power_watts"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(text, words):
    assert words in problem(MINIMAL + text).message


def test_single_modes_scale_one_pool():
    for mode, role in (("prefill", Role.PREFILL), ("decode", Role.DECODE)):
        config = converted(f"mode: {mode}\n{mode}_min_endpoint: 3\nmax_endpoint: 6\n")
        assert isinstance(config.fleet, SingleFleet)
        (pool,) = config.pools
        assert (pool.role, pool.min_replicas, pool.max_replicas) == (role, 3, 6)


def test_floors_of_one_role_are_not_for_agg():
    with pytest.raises(InputError, match="decode_min_endpoint: is for prefill and decode"):
        converted("mode: agg\ndecode_min_endpoint: 2\n")


def test_scale_to_zero_and_gpu_floor():
    config = converted("min_endpoint: 0\nmin_gpu_budget: 4\n")
    assert [pool.min_replicas for pool in config.pools] == [0, 0]
    assert config.gpu_floor == 4


def test_power_is_watts_of_a_replica():
    config = converted(
        "enable_power_awareness: true\ntotal_gpu_power_limit: 5000\ngpu_power_watts: 700\n"
    )
    assert config.power_limit_w == 5000.0
    assert [pool.watts_per_replica for pool in config.pools] == [700.0, 1400.0]


def test_upstreams_filter_variances_are_in_requests_per_interval():
    config = converted("throughput_adjustment_interval: 10\nkalman_q_level: 2\n")
    knobs = config.predictor
    assert knobs.kalman_absolute
    assert knobs.kalman_q_level == pytest.approx(2.0 / 1000.0)
    assert knobs.kalman_q_trend == pytest.approx(0.1 / 1e5)
    assert knobs.kalman_r == pytest.approx(0.1)
    assert config.load_predictor is LoadPredictor.KALMAN
    assert not converted("").predictor.kalman_absolute
    for line in ("kalman_r: 3.0", "kalman_min_points: 7", "load_predictor_log1p: true"):
        assert converted(line + "\n").load_predictor is LoadPredictor.KALMAN
    with pytest.raises(InputError, match="load_predictor_log1p is not for"):
        converted("load_predictor: blend\nload_predictor_log1p: true\n")


def test_the_warm_up_trace_becomes_rates(tmp_path):
    trace = tmp_path / "trace.jsonl"
    lines = [
        json.dumps({"timestamp": at, "input_length": 10, "output_length": 5, "hash_ids": [at]})
        for at in (0, 1000, 2000, 9000, 10_500, 25_000)
    ]
    trace.write_text("\n".join(lines))
    config = converted(
        f"throughput_adjustment_interval: 10\nload_predictor_warmup_trace: {trace}\n"
    )
    assert config.predictor.warmup == (0.4, 0.1)
    with pytest.raises(InputError, match="load_predictor_warmup_trace: cannot be read"):
        converted(f"load_predictor_warmup_trace: {tmp_path / 'missing'}\n")
