"""What a profiling Job reports through its ConfigMap.

Keys: ``phase`` and ``message`` while it runs; ``profiler_status`` (success, failed),
``profiler_error``, ``final_config.yaml``, ``profiler_status.yaml`` and ``pareto.json`` at
its end. ``webui_data.json`` of older profilers is understood too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import yaml

from contracts.errors import InputError
from dgdr.convert.plain import section
from dgdr.graph import GRAPH_KIND
from dgdr.reconcile.actions import Json

PHASES = "phases"
FINAL_CONFIG, PARETO, WEBUI = "final_config.yaml", "pareto.json", "webui_data.json"
_WEBUI_COLUMNS_MIN = 7
_FIGURES = {
    "ttft_ms": "ttftMs",
    "itl_ms": "itlMs",
    "tokens_per_s_per_gpu": "tokensPerSecondPerGpu",
    "gpus": "gpus",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The documents of final_config.yaml."""

    deployment: Json
    side: tuple[Json, ...]
    skipped_kinds: tuple[str, ...]


def parse_generated(text: str) -> Generated:
    """Split final_config.yaml into its deployment and what goes with it.

    Raises:
        InputError: the text is not YAML, or holds no deployment or several.
    """
    try:
        documents = [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]
    except yaml.YAMLError as error:
        raise InputError(f"is not YAML: {error}", path=FINAL_CONFIG) from error
    found = [d for d in documents if d.get("kind") == GRAPH_KIND]
    if not found:
        raise InputError(f"no {GRAPH_KIND} found in YAML content")
    if len(found) > 1:
        raise InputError(
            f"holds several {GRAPH_KIND}s",
            path=FINAL_CONFIG,
            value=f"{len(found)} of them",
            allowed="exactly one",
        )
    others = [d for d in documents if d.get("kind") != GRAPH_KIND]
    named = [d for d in others if d.get("kind") == "ConfigMap" and section(d, "metadata")]
    return Generated(
        deployment=found[0],
        side=tuple(named),
        skipped_kinds=tuple(str(d.get("kind")) for d in others if d not in named),
    )


def pareto_entries(data: Mapping[str, str], selected: Json) -> list[Json]:
    """The non-dominated configurations, never empty: without figures the selected one."""
    entries = list(_from_points(_json(data.get(PARETO)), selected))
    entries = entries or list(_from_table(_json(data.get(WEBUI))))
    return entries or [{"config": selected}]


def sla_note(data: Mapping[str, str]) -> str:
    """What to say about the picked point: a missed SLA, figures that nobody verified."""
    content = _json(data.get(PARETO))
    picked = content.get("picked")
    for point in content.get("points") or []:
        if isinstance(point, dict) and point.get("label") == picked:
            if point.get("feasible") is False:
                return f"SLA not met: {point.get('reason') or 'see profilingResults.pareto'}"
            if point.get("tokens_per_s_per_gpu") is None:
                return "SLA not verified: the picked configuration was not measured"
            return ""
    return "SLA not verified: the profiler gave no figures for the picked configuration"


def _from_points(content: Json, selected: Json) -> Iterator[Json]:
    for point in content.get("points") or []:
        if not isinstance(point, dict) or point.get("pareto") is not True:
            continue
        config = {k: point[k] for k in ("label", "mode", "replicas") if k in point}
        if point.get("label") == content.get("picked"):
            config = selected
        figures = {new: point[old] for old, new in _FIGURES.items() if point.get(old) is not None}
        entry: Json = {"config": config, "metrics": figures}
        if point.get("label"):
            entry["label"] = str(point["label"])
        yield entry


def _from_table(content: Json) -> Iterator[Json]:
    """Rows of TTFT, prefill throughput, ITL, decode throughput, ..., GPU hours, YAML."""
    for row in section(content, "cost", "table").get("data") or []:
        if not isinstance(row, list) or len(row) < _WEBUI_COLUMNS_MIN:
            continue
        try:
            config = yaml.safe_load(str(row[6]))
        except yaml.YAMLError:
            continue
        if isinstance(config, dict):
            names = ("ttftMs", "prefillThroughput", "itlMs", "decodeThroughput", "tokensPerUser")
            figures = {
                name: value
                for name, value in zip((*names, "gpuHours"), row, strict=False)
                if isinstance(value, int | float)
            }
            yield {"config": config, "metrics": figures}


def _json(text: object) -> Json:
    try:
        found = json.loads(str(text)) if text else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
