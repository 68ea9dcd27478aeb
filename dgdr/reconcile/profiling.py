"""Phase Profiling: follow the Job, then keep what it found."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from contracts.errors import InputError
from dgdr.convert.plain import section
from dgdr.documents import dump_documents
from dgdr.enums import Phase, ProfilingPhase
from dgdr.reconcile.actions import Action, Json, Outcome
from dgdr.reconcile.names import (
    GENERATED_ANNOTATION,
    SIDE_ANNOTATION,
    SPEC_ANNOTATION,
    UID_ANNOTATION,
    owned_by,
    request_labels,
)
from dgdr.reconcile.output import (
    FINAL_CONFIG,
    PHASES,
    Generated,
    pareto_entries,
    parse_generated,
    sla_note,
)
from dgdr.reconcile.snapshot import Pass, dgd_name, spec_digest
from dgdr.reconcile.status import PROFILING, SPEC_GENERATED
from dgdr.reconcile.times import to_unix_s

SIDE_BYTES_MAX = 250_000
_PHASES = {phase.value for phase in ProfilingPhase}
_AT_ONCE_S = 0.0
_PULL_ERRORS = ("ErrImagePull", "ImagePullBackOff")


def profile(look: Pass) -> Outcome:
    """Mirror the Job's progress; at its end go on to Ready, Deploying or Failed."""
    output, job = look.snapshot.output, look.snapshot.job
    data = section(output, "data") if output and owned_by(output, look.uid) else {}
    passed = _passed_phase(look, data)
    if passed is not None:
        _show_phase(look, passed, "")
        return look.finish(requeue_after_s=_AT_ONCE_S)
    failure = _failure(look, data)
    if failure is not None:
        return _fail(look, failure)
    _warn_of_images(look)
    phase = data.get("phase")
    if phase is not None and phase not in _PHASES:
        return _fail(look, f"unknown profiling phase {phase!r} in the output ConfigMap")
    if phase is not None:
        _show_phase(look, str(phase), str(data.get("message", "")))
    if data.get("profiler_status") == "success" and (job is None or _condition(job, "Complete")):
        return _collect(look, data)
    if job is None:
        return _fail(look, f"Job {look.draft.status.get('profilingJobName')} is gone")
    if _condition(job, "Complete") is not None:
        return _overdue(look, job)
    return look.finish(requeue_after_s=look.settings.resync_s)


def _passed_phase(look: Pass, data: Mapping[str, Any]) -> str | None:
    """The next sub-phase that was not shown yet, unless the profiler is still in it.

    Sub-phases of a simulated profiling are shorter than the looks at them; each is shown
    once, in order, before the profiling goes on or ends.
    """
    phases = [name for name in str(data.get(PHASES, "")).split() if name in _PHASES]
    shown = look.draft.status.get("profilingPhase")
    left = phases[phases.index(shown) + 1 :] if shown in phases else phases
    present = left[:1] == [data.get("phase")] and "profiler_status" not in data
    return left[0] if left and not present else None


def _show_phase(look: Pass, phase: str, message: str) -> None:
    look.draft.put("profilingPhase", phase)
    reason = "Completed" if phase == ProfilingPhase.DONE else phase
    look.draft.condition(PROFILING, holds=False, reason=reason, message=message)
    if message:
        look.draft.progress(message)


def _failure(look: Pass, data: Mapping[str, Any]) -> str | None:
    if data.get("profiler_status") == "failed":
        return f"profiling failed: {data.get('profiler_error') or data.get('message') or 'unknown'}"
    found = _condition(look.snapshot.job, "Failed")
    if found is None:
        return None
    parts = [str(found[key]) for key in ("reason", "message") if found.get(key)]
    details = "; ".join(_exits(look.snapshot.pods))
    text = f"profiling job failed: {': '.join(parts) or 'no reason given'}"
    return f"{text}. Details: {details}" if details else text


def _fail(look: Pass, message: str) -> Outcome:
    at = look.draft.status.get("profilingPhase")
    reason = f"{at}Failed" if at in _PHASES - {ProfilingPhase.DONE.value} else "ProfilingFailed"
    look.draft.fail(PROFILING, reason, message)
    look.emit("ProfilingCheckFailed", message, warning=True)
    return look.finish()


def _overdue(look: Pass, job: Json) -> Outcome:
    """The Job is complete, but its output is not there (yet)."""
    done_s = to_unix_s(section(job, "status").get("completionTime"))
    waited_s = look.now.unix_s - done_s if done_s is not None else look.settings.output_wait_s
    left_s = look.settings.output_wait_s - waited_s
    if left_s > 0:
        return look.finish(requeue_after_s=left_s)
    name = f"dgdr-output-{look.name}"
    return _not_generated(
        look, f"the Job is complete, but ConfigMap {name} has no result of the profiler"
    )


def _not_generated(look: Pass, message: str) -> Outcome:
    look.draft.fail(SPEC_GENERATED, "GenerationFailed", message)
    look.emit("GenerationFailed", message, warning=True)
    return look.finish()


def _collect(look: Pass, data: Mapping[str, str]) -> Outcome:
    try:
        generated = parse_generated(str(data.get(FINAL_CONFIG, "")))
        side = _side_text(look, generated)
    except InputError as error:
        return _not_generated(look, str(error))
    selected = selected_config(look, generated)
    draft = look.draft
    draft.put("profilingPhase", None)
    draft.put("dgdName", dgd_name(look.request))
    results = {"selectedConfig": selected, "pareto": pareto_entries(data, selected)}
    draft.put("profilingResults", results)
    draft.condition(PROFILING, holds=True, reason="ProfilingCompleted")
    note = sla_note(data)
    where = f"see annotation {GENERATED_ANNOTATION}"
    draft.condition(
        SPEC_GENERATED,
        holds=True,
        reason="SpecGenerated",
        message=f"{note}; {where}" if note else where,
    )
    apply = bool(look.spec.get("autoApply", True))
    message = note or ("the deployment is being created" if apply else where)
    draft.enter(Phase.DEPLOYING if apply else Phase.READY, message)
    look.emit("SpecGenerated", f"DynamoGraphDeployment {dgd_name(look.request)} generated")
    if note:
        look.emit("SpecGenerated", note, warning=True)
    return look.finish(*_annotate(look, selected, side), requeue_after_s=0.0 if apply else None)


def selected_config(look: Pass, generated: Generated) -> Json:
    """The deployment under its final name, with the labels that mark it as ours."""
    selected = copy.deepcopy(generated.deployment)
    metadata = section(selected, "metadata")
    metadata |= {"name": dgd_name(look.request), "namespace": look.namespace}
    metadata["labels"] = {**section(metadata, "labels"), **request_labels(look.request)}
    metadata["annotations"] = {**section(metadata, "annotations"), UID_ANNOTATION: look.uid}
    selected["metadata"] = metadata
    selected.pop("status", None)
    return selected


def _side_text(look: Pass, generated: Generated) -> str | None:
    documents = []
    for item in generated.side:
        metadata = {
            "name": item["metadata"]["name"],
            "namespace": look.namespace,
            "labels": {**section(item, "metadata", "labels"), **request_labels(look.request)},
        }
        documents.append({**item, "metadata": metadata})
    if generated.skipped_kinds:
        kinds = ", ".join(generated.skipped_kinds)
        look.emit("ConfigMapCreationFailed", f"not created, no ConfigMaps: {kinds}", warning=True)
    if not documents:
        return None
    text = dump_documents(documents)
    if len(text.encode()) > SIDE_BYTES_MAX:
        raise InputError(
            "the documents beside the deployment are too large",
            path=FINAL_CONFIG,
            value=f"{len(text.encode())} bytes",
            allowed=f"at most {SIDE_BYTES_MAX}",
        )
    return text


def _annotate(look: Pass, selected: Json, side: str | None) -> tuple[Action, ...]:
    notes = section(look.request, "metadata", "annotations")
    notes |= {
        GENERATED_ANNOTATION: dump_documents([selected]),
        SPEC_ANNOTATION: spec_digest(look.spec),
    }
    notes.pop(SIDE_ANNOTATION, None)
    if side is not None:
        notes[SIDE_ANNOTATION] = side
    return look.change({"metadata": {**look.request["metadata"], "annotations": notes}})


def _condition(data: Mapping[str, Any] | None, kind: str) -> Json | None:
    """A condition of a Job that holds."""
    for entry in section(data, "status").get("conditions") or []:
        if entry.get("type") == kind and entry.get("status") == "True":
            return dict(entry)
    return None


def _containers(pods: tuple[Json, ...]) -> Iterator[tuple[str, Json]]:
    for pod in pods:
        status = section(pod, "status")
        for key in ("initContainerStatuses", "containerStatuses"):
            for entry in status.get(key) or []:
                yield pod["metadata"]["name"], entry


def _exits(pods: tuple[Json, ...]) -> Iterator[str]:
    for pod, entry in _containers(pods):
        ended = section(entry, "state", "terminated")
        if ended and ended.get("exitCode") != 0:
            text = (
                f"Pod: {pod}, Container: {entry.get('name')}, ExitCode: {ended.get('exitCode')}, "
                f"Reason: {ended.get('reason', 'unknown')}"
            )
            yield f"{text}, Message: {ended['message']}" if ended.get("message") else text


def _warn_of_images(look: Pass) -> None:
    for pod, entry in _containers(look.snapshot.pods):
        waiting = section(entry, "state", "waiting")
        if waiting.get("reason") in _PULL_ERRORS:
            look.emit(
                "ImagePullFailed",
                f"Pod {pod}, container {entry.get('name')}: {waiting['reason']} "
                f"{entry.get('image', '')} {waiting.get('message', '')}".strip(),
                warning=True,
            )
