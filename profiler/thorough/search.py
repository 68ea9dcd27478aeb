"""One measured search from sweeps to files, whatever deploys and measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.curves import DecodeCurves, PrefillCurves
from contracts.errors import InfeasibleError
from contracts.plan import DeploymentPlan, Role
from dgdr import Dgdr, ProfilingPhase
from profiler.dgdr import outputs as shared
from profiler.dgdr.plots import plot_decode, plot_prefill
from profiler.dgdr.status import STATUS_FILE, StatusFile
from profiler.measure.curves import context_limit
from profiler.thorough import outputs
from profiler.thorough.bench import Bench, Rig
from profiler.thorough.candidates import EngineCandidate, Refused, engine_candidates
from profiler.thorough.candidates_file import write_candidates
from profiler.thorough.curves import measure_decode, measure_prefill
from profiler.thorough.options import CurveMode, ThoroughOptions
from profiler.thorough.pick import Ranked, rank
from profiler.thorough.plans import plan_of
from profiler.thorough.plots import plot_decode_rows, plot_prefill_rows
from profiler.thorough.sweep import WORDS, Progress, Sweeper, Swept
from profiler.thorough.wish import Wish

_PHASES = {
    Role.PREFILL: (ProfilingPhase.SWEEPING_PREFILL, "measuring TTFT"),
    Role.DECODE: (ProfilingPhase.SWEEPING_DECODE, "measuring ITL"),
    Role.AGG: (ProfilingPhase.SWEEPING_DECODE, "measuring TTFT and ITL"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThoroughResult:
    """What was picked, and where the files are.

    Attributes:
        picked: label of the picked configuration.
        sla_met: all targets held in the measurement.
        message: what the status file says at the end.
        prefill_curves, decode_curves: ``None`` when nothing needs them.
        files: written files by name.
    """

    plan: DeploymentPlan
    picked: str
    sla_met: bool
    message: str
    prefill_curves: PrefillCurves | None
    decode_curves: DecodeCurves | None
    files: dict[str, Path]


class Search:
    """Runs one search.

    Args:
        dgdr: the request.
        wish: the same, reduced.
        options: how to search.
        folder: output folder.
        rig: deployer, measurer, journal, caps.
        status: told about every phase.
        progress: told about every candidate.
    """

    def __init__(  # noqa: PLR0913  # the parts of a search
        self,
        dgdr: Dgdr,
        wish: Wish,
        options: ThoroughOptions,
        folder: Path,
        rig: Rig,
        status: StatusFile,
        progress: Progress,
    ) -> None:
        self._dgdr = dgdr
        self._wish = wish
        self._options = options
        self._folder = folder
        self._rig = rig
        self._status = status
        self._progress = progress
        self._files: list[Path] = []

    def run(self) -> ThoroughResult:
        """Sweep, pick, measure curves, write.

        Raises:
            InfeasibleError: no engine fits, or none could be measured; names the reasons.
            CandidateError: a picked engine could not be measured again for its curves.
            OutputError: results cannot be written.
        """
        candidates, refused = engine_candidates(self._wish)
        if not candidates:
            raise _nothing(self._wish, refused, Swept())
        swept = self._sweep(candidates)
        self._status.running(
            ProfilingPhase.SELECTING_CONFIG,
            "Filtering results and selecting cost-efficient configuration",
        )
        if not (swept.agg or (swept.prefill and swept.decode)):
            raise _nothing(self._wish, refused, swept)
        ranked = rank(self._wish, swept.prefill, swept.decode, swept.agg)
        by_label = {candidate.label: candidate for candidate in candidates}

        def planned(each: Ranked) -> DeploymentPlan:
            startup_s, router = self._options.startup_s, self._options.router
            return plan_of(self._wish, each, by_label, startup_s=startup_s, router=router)

        plan = planned(ranked[0])
        self._write_sweep(plan, swept, refused, ranked)
        path = write_candidates(self._folder, self._wish, swept, (refused, ranked), planned)
        self._files.append(path)
        curves = self._curves(ranked[0], by_label) if self._needs_curves else (None, None)
        self._status.running(ProfilingPhase.GENERATING_DGD, "Generating the deployment")
        self._write_deployment(plan)
        note = _note(ranked[0], swept)
        self._status.succeeded("final_config.yaml", note)
        self._files.append(self._folder / STATUS_FILE)
        return ThoroughResult(
            plan=plan,
            picked=ranked[0].option.label,
            sla_met=ranked[0].feasible,
            message=note,
            prefill_curves=curves[0],
            decode_curves=curves[1],
            files={str(path.relative_to(self._folder)): path for path in self._files},
        )

    def _sweep(self, candidates: Sequence[EngineCandidate]) -> Swept:
        sweeper = Sweeper(
            self._wish, self._rig, self._folder, self._options.timer_for, self._report
        )
        for role, (phase, what) in _PHASES.items():
            self._status.running(
                phase, f"Sweeping parallelization strategies for {WORDS[role]}, {what}"
            )
            sweeper.sweep(role, candidates)
        return sweeper.swept

    def _report(self, role: Role, number: int, total: int, candidate: EngineCandidate) -> None:
        text = (
            f"Benchmarking {WORDS[role]} candidate {number}/{total}: {candidate.label} "
            f"({candidate.shape.gpus} GPUs)"
        )
        self._rig.log.info(text)
        self._status.running(_PHASES[role][0], text)
        self._progress(WORDS[role], number, total)

    def _write_sweep(
        self,
        plan: DeploymentPlan,
        swept: Swept,
        refused: Sequence[Refused],
        ranked: Sequence[Ranked],
    ) -> None:
        folder, sla = self._folder, self._wish.sla
        self._files += [
            shared.write_plan(folder, plan),
            outputs.write_pareto(folder, self._wish, swept, refused, ranked),
            outputs.write_rows(folder, swept),
        ]
        if self._options.plots:
            self._files += [
                plot_prefill_rows(folder / "prefill_performance.png", swept.prefill, sla.ttft_ms),
                plot_decode_rows(folder / "decode_performance.png", swept.decode, sla.itl_ms),
            ]

    @property
    def _needs_curves(self) -> bool:
        if self._options.curves is not CurveMode.AUTO:
            return self._options.curves is CurveMode.ALWAYS
        return self._dgdr.spec.mocker or self._dgdr.spec.planner is not None

    def _curves(
        self, picked: Ranked, by_label: Mapping[str, EngineCandidate]
    ) -> tuple[PrefillCurves, DecodeCurves]:
        self._status.running(
            ProfilingPhase.BUILDING_CURVES, "Building the curves of the picked engines"
        )
        engines = {}
        for role in (Role.PREFILL, Role.DECODE):
            label = picked.option.parts.get(role.value) or picked.option.parts[Role.AGG.value]
            engines[role] = by_label[label]
        options, folder = self._options, self._folder
        prefill = measure_prefill(
            engines[Role.PREFILL],
            self._bench(engines[Role.PREFILL], Role.PREFILL, options.prefill_granularity),
            self._context(engines[Role.PREFILL]),
            options.prefill_granularity,
            self._progress,
        )
        decode = measure_decode(
            engines[Role.DECODE],
            self._bench(engines[Role.DECODE], Role.DECODE, options.decode_granularity),
            self._context(engines[Role.DECODE]),
            options.decode_granularity,
            self._progress,
        )
        self._files += [
            *shared.write_curves(folder, prefill, decode),
            *outputs.write_raw_data(folder, prefill, decode),
        ]
        if self._options.plots:
            self._files += [
                *plot_prefill(folder / "selected_prefill_interpolation", prefill),
                *plot_decode(folder / "selected_decode_interpolation", decode),
            ]
        return prefill, decode

    def _bench(self, candidate: EngineCandidate, role: Role, granularity: int) -> Bench:
        name = f"selected_{role.value}_interpolation"
        grid = f"{granularity}-{self._context(candidate)}"
        key = f"curve-{role.value}/{candidate.label}/{grid}"
        return Bench(self._rig, candidate, role, self._folder / name, key)

    def _context(self, candidate: EngineCandidate) -> int:
        if self._options.context_tokens is not None:
            return min(self._options.context_tokens, candidate.engine.model.max_position)
        return context_limit(candidate.engine, self._wish.isl, self._wish.osl)

    def _write_deployment(self, plan: DeploymentPlan) -> None:
        dgdr, folder = self._dgdr, self._folder
        config = shared.write_planner_config(folder, dgdr, plan)
        if config is not None:
            self._files.append(folder / "planner_config.json")
        self._files.append(shared.write_final_config(folder, dgdr, plan, config))
        picked = folder / "picked_dgd_config.yaml"
        self._files += [picked] if picked.exists() else []


def _note(picked: Ranked, swept: Swept) -> str:
    """What the user should know about the pick."""
    notes = [] if picked.feasible else [picked.reason]
    if swept.capped:
        notes.append(f"picked among what was measured before the cap: {swept.capped}")
    return "; ".join(notes)


def _nothing(wish: Wish, refused: Sequence[Refused], swept: Swept) -> InfeasibleError:
    """No row: every reason there is."""
    reasons = [f"{v.role.value} {v.label}: {v.reason}" for v in swept.verdicts if v.reason]
    reasons += [f"{shape.label}: {shape.reason}" for shape in refused]
    what = f"no engine for {wish.model.model_id} on {wish.total_gpus} GPUs could be measured"
    binding = swept.capped or (reasons[0] if reasons else "no candidate")
    return InfeasibleError(what, binding_constraint=binding, closest=reasons)
