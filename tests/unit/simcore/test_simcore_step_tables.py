"""Step times from tables and curves: exact on known points, linear in context, usable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.engine import EngineLimits, SglangScheduling, Speculation
from contracts.errors import InputError, UnsupportedError
from contracts.hardware import Evidence
from contracts.plan import EngineSpec
from contracts.ports import PrefillChunk
from profiler.measure import decode_curves, prefill_curves
from simcore.closed_loop import simulate_closed_loop
from simcore.perf import curve_times, parse_step_table, roofline, table_times
from simcore.simulation import simulate

TOKENS = (16, 64, 128, 256, 512, 768, 1024, 1536, 2048, 4096, 8192)
PASTS = (0, 1024, 4096, 16_384)
BATCHES = (1, 4, 8, 16, 32, 64, 128, 256)
CONTEXTS = (128, 8192)


def csv_of(engine: EngineSpec, *, pasts=PASTS, tp: int | None = None) -> str:
    """The roofline on a grid, as a user would have measured it."""
    timer = roofline(engine)
    extra = "" if tp is None else f",{tp}"
    lines = ["kind,tokens,batch,context,ms" + ("" if tp is None else ",tp")]
    for n in TOKENS:
        for p in pasts:
            fs = timer.mixed_step_fs(0, 0, [PrefillChunk(n, p)])
            lines.append(f"prefill,{n},1,{p},{fs / 1e12:.9f}{extra}")
    for r in BATCHES:
        for c in CONTEXTS:
            fs = timer.mixed_step_fs(r, r * c, [])
            lines.append(f"decode,,{r},{c},{fs / 1e12:.9f}{extra}")
    return "\n".join(lines) + "\n"


def table_of(engine: EngineSpec, **options):
    text = csv_of(engine, **options)
    return table_times(parse_step_table(text.splitlines(), source="steps.csv"))


def table_timer(engine: EngineSpec, **options):
    return table_of(engine, **options)(engine)


def test_known_points_are_met(make_engine_spec) -> None:
    engine = make_engine_spec()
    truth, timer = roofline(engine), table_timer(engine)
    for n in TOKENS:
        for p in PASTS:
            chunk = [PrefillChunk(n, p)]
            expected = truth.mixed_step_fs(0, 0, chunk)
            assert timer.mixed_step_fs(0, 0, chunk) == pytest.approx(expected, rel=1.1e-3), chunk
    for r in BATCHES:
        for c in CONTEXTS:
            expected = truth.mixed_step_fs(r, r * c, [])
            assert timer.mixed_step_fs(r, r * c, []) == pytest.approx(expected, rel=1e-6)
    assert timer.evidence is Evidence.MEASURED
    assert 0 < timer.error_ratio < 1


def test_without_chunks_a_step_is_its_cost_line(make_engine_spec) -> None:
    timer = table_timer(make_engine_spec())
    for r in (1, 7, 32, 100, 400):
        base, slope = timer.decode_cost(r)
        assert base > 0
        assert slope > 0
        for context in (0, 1, 1000, 10**7):
            assert timer.mixed_step_fs(r, context, []) == base + slope * context


def test_more_work_takes_no_less_time(make_engine_spec) -> None:
    timer = table_timer(make_engine_spec())
    alone = [timer.mixed_step_fs(0, 0, [PrefillChunk(n, 0)]) for n in range(1, 20_000, 37)]
    assert all(np.diff(alone) >= 0)
    later = [timer.mixed_step_fs(0, 0, [PrefillChunk(2048, p)]) for p in range(0, 60_000, 97)]
    assert all(np.diff(later) >= 0)
    bases = [timer.decode_cost(r).base_fs for r in range(1, 600)]
    assert all(np.diff(bases) >= 0)
    mixed = [timer.mixed_step_fs(r, 1000 * r, [PrefillChunk(512, 0)]) for r in range(1, 300)]
    assert all(np.diff(mixed) >= 0)


def test_beyond_the_points_lines_go_on(make_engine_spec) -> None:
    timer = table_timer(make_engine_spec())
    bases = [timer.decode_cost(r).base_fs for r in (256, 300, 344)]
    assert bases[2] - bases[1] == pytest.approx(bases[1] - bases[0], rel=1e-9)
    assert timer.decode_cost(400).slope_fs == timer.decode_cost(256).slope_fs
    small = timer.mixed_step_fs(0, 0, [PrefillChunk(1, 0)])
    assert small == timer.mixed_step_fs(0, 0, [PrefillChunk(16, 0)])
    pasts = [timer.mixed_step_fs(0, 0, [PrefillChunk(1024, p)]) for p in (16_384, 32_768, 49_152)]
    assert pasts[2] - pasts[1] == pytest.approx(pasts[1] - pasts[0], rel=1e-9)


def test_between_the_points_it_is_close(make_engine_spec) -> None:
    engine = make_engine_spec()
    truth, timer = roofline(engine), table_timer(engine)
    for requests, context, chunks in (
        (0, 0, [(300, 0)]),
        (0, 0, [(3000, 700)]),
        (0, 0, [(1000, 0), (1000, 0), (3000, 5000)]),
        (40, 40_000, [(2000, 0)]),
        (200, 400_000, [(512, 0)]),
        (100, 50_000, [(300, 0), (300, 0)]),
        (100, 200_000, []),
    ):
        pieces = [PrefillChunk(*chunk) for chunk in chunks]
        expected = truth.mixed_step_fs(requests, context, pieces)
        found = timer.mixed_step_fs(requests, context, pieces)
        assert found == pytest.approx(expected, rel=0.1), (requests, context, chunks)


def test_prompts_without_a_past_suffice(make_engine_spec) -> None:
    engine = make_engine_spec()
    timer = table_timer(engine, pasts=(0,))
    chunk = [PrefillChunk(4096, 8192)]
    assert timer.mixed_step_fs(0, 0, chunk) == pytest.approx(
        roofline(engine).mixed_step_fs(0, 0, chunk), rel=0.1
    )


@pytest.mark.parametrize("scheduling", [None, SglangScheduling()])
def test_a_simulation_with_the_table_is_close(make_agg_plan, make_engine_spec, make_workload,
                                              scheduling) -> None:  # fmt: skip
    engine = make_engine_spec()
    if scheduling is not None:
        engine = EngineSpec(
            model=engine.model, gpu=engine.gpu, tp=1, weight_dtype=engine.weight_dtype,
            kv_dtype=engine.kv_dtype, limits=EngineLimits(), scheduling=scheduling,
        )  # fmt: skip
    plan = make_agg_plan(2, engine=engine)
    workload = make_workload(300, 50_000_000, isl=1500, osl=120)
    truth = simulate(plan, workload).table
    table = simulate(plan, workload, timer_for=table_of(engine)).table
    for name in ("ttft_ms", "itl_ms", "e2e_ms"):
        found, expected = getattr(table, name), getattr(truth, name)
        assert np.median(found) == pytest.approx(np.median(expected), rel=0.04), name


def test_the_default_is_the_roofline(make_agg_plan, make_workload) -> None:
    plan, workload = make_agg_plan(), make_workload(50, 20_000_000)
    named = simulate(plan, workload, timer_for=roofline)
    assert named.digest == simulate(plan, workload).digest
    lengths = np.full(40, 500), np.full(40, 20)
    options = {"isl": lengths[0], "osl": lengths[1], "concurrency": 8}
    truth = simulate_closed_loop(plan, **options)
    table = simulate_closed_loop(plan, **options, timer_for=table_of(plan.topology.pools[0].engine))
    assert table.digest != truth.digest
    assert np.median(table.table.itl_ms) == pytest.approx(np.median(truth.table.itl_ms), rel=0.05)


def test_tables_are_chosen_by_tensor_parallel_size(make_engine_spec) -> None:
    one, two = make_engine_spec(tp=1), make_engine_spec(tp=2)
    text = csv_of(one, tp=1) + "\n".join(csv_of(two, tp=2).splitlines()[1:])
    factory = table_times(parse_step_table(text.splitlines(), source="steps.csv"))
    assert factory(two).decode_cost(8).base_fs < factory(one).decode_cost(8).base_fs
    with pytest.raises(UnsupportedError, match="no step times for tp 4; the table has tp 1, 2"):
        factory(make_engine_spec(tp=4))
    for special in ({"pp": 2}, {"speculation": Speculation(acceptance_ratios=(0.5,))}):
        with pytest.raises(UnsupportedError, match="one pass of one rank"):
            factory(replace(one, **special))


HEAD = "kind,tokens,batch,context,ms\n"
GOOD = "prefill,16,1,0,5\nprefill,64,1,0,9\ndecode,,1,10,2\ndecode,,1,1000,3\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing kind"),
        ("kind,tokens,batch,context,ms,colour\n", "unknown colour"),
        (HEAD, "has no rows"),
        (HEAD + GOOD + "both,1,1,1,1\n", r"line 6: kind.*prefill or decode"),
        (HEAD + "prefill,no,1,0,5\n", r"line 2: tokens.*'no'.*at least 1"),
        (HEAD + "prefill,8,1,0,nan\n", r"line 2: ms.*above 0"),
        (HEAD + "prefill,8,2,0,5\n", r"line 2: batch.*1 or empty"),
        (HEAD + "decode,8,2,10,5\n", r"line 2: tokens.*2 or empty"),
        (HEAD + "decode,,0,10,5\n", r"line 2: batch"),
        (HEAD + "decode,,1,10,2\ndecode,,1,90,3\n", "two lengths"),
        (HEAD + "prefill,16,1,0,5\nprefill,64,1,0,9\ndecode,,1,10,2\n", "two contexts"),
    ],
)
def test_wrong_tables_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_step_table(text.splitlines(), source="steps.csv")
    assert "steps.csv" in str(caught.value)


def test_a_small_table_with_noise(make_engine_spec) -> None:
    """Three contexts that are on no line, a batch with one context, a step that falls."""
    text = HEAD + GOOD + "decode,,1,500,2.6\ndecode,,8,1000,4\ndecode,,16,10,9\nprefill,16,,0,5.2\n"
    timer = table_times(parse_step_table(text.splitlines(), source="steps.csv"))(make_engine_spec())
    assert timer.mixed_step_fs(8, 8000, []) == pytest.approx(4e12, rel=1e-3)
    assert timer.mixed_step_fs(1, 500, []) == pytest.approx(2.5e12, rel=0.05)
    assert timer.mixed_step_fs(0, 0, [PrefillChunk(16, 0)]) == pytest.approx(5.1e12, rel=1e-6)


def test_curves_of_the_profiler(make_engine_spec, make_agg_plan, make_workload) -> None:
    limits = EngineLimits(max_num_batched_tokens=2048)
    engine = make_engine_spec(tp=2, limits=limits)
    prefill, decode = prefill_curves(engine, 16_384), decode_curves(engine, 16_384)
    factory = curve_times(prefill, decode)
    timer, truth = factory(engine), roofline(engine)
    for isl, ms in zip(prefill.prefill_isl, prefill.prefill_ttft, strict=True):
        chunks = [PrefillChunk(min(2048, int(isl) - p), p) for p in range(0, int(isl), 2048)]
        fs = sum(timer.mixed_step_fs(0, 0, [chunk]) for chunk in chunks)
        near = 1e-6 if isl <= 2048 else 0.04
        assert fs / 1e12 == pytest.approx(ms, rel=near), isl
    for r, c in ((1, 500), (16, 2000), (100, 4000), (256, 900)):
        assert timer.mixed_step_fs(r, r * c, []) == pytest.approx(
            truth.mixed_step_fs(r, r * c, []), rel=0.04
        )
    assert (timer.evidence, timer.error_ratio) == (engine.gpu.evidence, engine.gpu.error_ratio)
    with pytest.raises(UnsupportedError, match="engine of 1 GPUs; the curves are of 2"):
        factory(make_engine_spec(tp=1))
    plan, workload = make_agg_plan(2, engine=engine), make_workload(200, 40_000_000, isl=1500)
    expected, found = simulate(plan, workload), simulate(plan, workload, timer_for=factory)
    assert np.median(found.table.itl_ms) == pytest.approx(
        np.median(expected.table.itl_ms), rel=0.06
    )
    assert np.median(found.table.ttft_ms) == pytest.approx(
        np.median(expected.table.ttft_ms), rel=0.06
    )


@pytest.mark.parametrize("budget", [64, 512, 8192])
def test_curves_with_other_step_budgets(make_engine_spec, budget: int) -> None:
    engine = make_engine_spec(limits=EngineLimits(max_num_batched_tokens=budget))
    curves = prefill_curves(engine, 16_384), decode_curves(engine, 16_384)
    timer, truth = curve_times(*curves)(engine), roofline(engine)
    for past in (0, budget, 8 * budget):
        chunk = [PrefillChunk(budget, past)]
        assert timer.mixed_step_fs(0, 0, chunk) == pytest.approx(
            truth.mixed_step_fs(0, 0, chunk), rel=0.06
        )


def test_curves_of_too_few_points(make_engine_spec) -> None:
    engine = make_engine_spec()
    prefill, decode = prefill_curves(engine, 16_384), decode_curves(engine, 16_384)
    short = replace(
        prefill, **{name: getattr(prefill, name)[:1] for name in type(prefill).__slots__}
    )
    with pytest.raises(InputError, match="two prompt lengths"):
        curve_times(short, decode)
