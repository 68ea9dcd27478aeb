"""The state machine of a DynamoGraphDeploymentRequest.

``reconcile_request`` looks at what there is and says what to do next. It may be called at
any time and any number of times: what is done already is not asked for again.
"""

from __future__ import annotations

from contracts.errors import CombinedInputError, InputError
from dgdr.convert.plain import section
from dgdr.dialect import convert_draft
from dgdr.enums import Phase, ProfilingPhase
from dgdr.reconcile.actions import Action, Create, Delete, Json, Now, Outcome, Ref
from dgdr.reconcile.deploying import deploy, watch_deployment
from dgdr.reconcile.findings import plain_request, request_problems, request_warnings
from dgdr.reconcile.hardware import ClusterFacts, discover, wants_discovery
from dgdr.reconcile.job import profiling_job
from dgdr.reconcile.names import (
    GENERATION_ANNOTATION,
    JOB_ACCOUNT,
    SPEC_ANNOTATION,
    owned_by,
)
from dgdr.reconcile.profiling import profile
from dgdr.reconcile.settings import OperatorSettings
from dgdr.reconcile.snapshot import Pass, RequestSnapshot, spec_digest
from dgdr.reconcile.status import (
    PROFILING,
    SUCCEEDED,
    VALIDATION,
    StatusDraft,
)

_GUARDED = (Phase.PROFILING, Phase.READY, Phase.DEPLOYING, Phase.DEPLOYED)
_PHASES = {phase.value for phase in Phase}
_AT_ONCE_S = 0.0


def reconcile_request(snapshot: RequestSnapshot, settings: OperatorSettings, now: Now) -> Outcome:
    """What to do next for one request."""
    request = snapshot.request
    if request["metadata"].get("deletionTimestamp"):
        return Outcome()  # what the request owns is collected, the deployment stays
    look = Pass(snapshot=snapshot, settings=settings, now=now, draft=StatusDraft(request, now))
    phase = look.draft.phase or Phase.PENDING.value
    if phase not in _PHASES:
        look.draft.fail(VALIDATION, "ValidationFailed", f"unknown phase {phase!r}")
        look.draft.put("observedGeneration", look.generation)
        return look.finish()
    if phase in _GUARDED and look.generation != look.draft.status.get("observedGeneration"):
        return _changed_spec(look, Phase(phase))
    if phase == Phase.PENDING:
        return _pending(look)
    if phase == Phase.PROFILING:
        return profile(look)
    if phase == Phase.READY:
        return _ready(look)
    if phase == Phase.DEPLOYING:
        return deploy(look)
    if phase == Phase.DEPLOYED:
        return watch_deployment(look)
    return _failed(look)


def needs_facts(request: Json) -> bool:
    """Whether the next pass will want to know the GPUs of the cluster."""
    status = section(request, "status")
    observed = status.get("observedGeneration") == request["metadata"].get("generation")
    pending = status.get("phase") in (None, Phase.PENDING.value)
    return pending and observed and wants_discovery(section(request, "spec", "hardware"))


def _changed_spec(look: Pass, phase: Phase) -> Outcome:
    """A spec that was changed too late; in Ready, autoApply may still be switched on."""
    notes = section(look.request, "metadata", "annotations")
    same = notes.get(SPEC_ANNOTATION) == spec_digest(look.spec)
    if phase is Phase.READY and same:
        look.draft.put("observedGeneration", look.generation)
        return _ready(look)
    look.emit(
        "SpecChangeRejected",
        f"spec was changed in phase {phase.value}, which has no effect; "
        "delete and recreate the request to change it",
        warning=True,
    )
    return Outcome(actions=tuple(look.events))


def _pending(look: Pass) -> Outcome:
    if look.draft.status.get("observedGeneration") != look.generation:
        return _validate(look)
    try:
        filled = _enriched(look)
    except InputError as error:
        return _invalid(look, error)
    patch = look.change({"spec": filled})
    if patch:
        return Outcome(actions=patch, requeue_after_s=_AT_ONCE_S)
    return _start_job(look)


def _validate(look: Pass) -> Outcome:
    first = look.draft.status.get("observedGeneration") is None
    try:
        _check(look)
    except InputError as error:
        return _invalid(look, error)
    draft = look.draft
    draft.put("observedGeneration", look.generation)
    draft.condition(VALIDATION, holds=True, reason="ValidationPassed")
    draft.condition(
        PROFILING, holds=False, reason="DiscoveringHardware", message="looking up the GPUs"
    )
    draft.enter(Phase.PENDING, "validated, profiling is about to start")
    if first:
        look.emit("Initialized", "the request is valid")
        for warning in request_warnings(look.request):
            look.emit("Initialized", warning, warning=True)
    return look.finish(requeue_after_s=_AT_ONCE_S)


def _check(look: Pass) -> None:
    """Every finding at once.

    Raises:
        InputError: the request is wrong, or what it refers to is not there.
    """
    problems = request_problems(look.request, look.settings)
    claim = section(look.spec, "modelCache").get("pvcName")
    if claim and not look.snapshot.claim_found:
        problems.append(
            InputError(
                f"model cache PVC {claim} not found in namespace {look.namespace}",
                path="spec.modelCache.pvcName",
                value=str(claim),
                allowed="the name of an existing claim",
            )
        )
    if problems:
        raise CombinedInputError(problems)


def _invalid(look: Pass, error: InputError) -> Outcome:
    message = str(error)
    look.draft.put("observedGeneration", look.generation)
    look.draft.fail(VALIDATION, "ValidationFailed", message)
    look.emit("ValidationFailed", message, warning=True)
    return look.finish()


def _enriched(look: Pass) -> Json:
    """The spec with present spellings, the default image and discovered hardware."""
    converted, _ = convert_draft(plain_request(look.request), source="")
    spec: Json = converted["spec"]
    hardware = section(spec, "hardware")
    if wants_discovery(hardware):
        facts = look.snapshot.cluster if look.settings.discovery else ClusterFacts()
        hardware |= discover(hardware, facts or ClusterFacts())
    if hardware:
        spec["hardware"] = hardware
    if spec.get("image") is None and look.settings.default_image is not None:
        spec["image"] = look.settings.default_image
    return spec


def _start_job(look: Pass) -> Outcome:
    job = look.snapshot.job
    if job is not None and not owned_by(job, look.uid):
        return _no_job(look, f"Job {job['metadata']['name']} exists and belongs to something else")
    if job is not None and _generation_of(job) != str(look.generation):
        remove = Delete(ref=Ref.of(job), uid=job["metadata"]["uid"])
        return Outcome(actions=(remove,), requeue_after_s=1.0)
    if job is None and look.snapshot.output is not None:
        stale = look.snapshot.output
        remove = Delete(ref=Ref.of(stale), uid=stale["metadata"]["uid"])
        return Outcome(actions=(remove,), requeue_after_s=_AT_ONCE_S)
    try:
        wanted = profiling_job(look.request, look.settings)
    except InputError as error:
        return _no_job(look, error.message)
    except (KeyError, TypeError, AttributeError) as error:
        return _no_job(look, f"spec.overrides.profilingJob is malformed: {error!r}")
    draft = look.draft
    draft.put("profilingJobName", wanted["metadata"]["name"])
    draft.put("profilingPhase", ProfilingPhase.INITIALIZING.value)
    draft.condition(
        PROFILING, holds=False, reason=ProfilingPhase.INITIALIZING.value, message="Job created"
    )
    draft.enter(Phase.PROFILING, "profiling")
    look.emit("ProfilingJobCreated", f"Job {wanted['metadata']['name']} profiles the request")

    def rejected(why: str) -> tuple[Action, ...]:
        return _no_job(_again(look), why).actions

    access = _account(look.namespace) if look.settings.setup_access else ()
    needed = (*access, wanted)
    creates = (Create(data=data, rejected=rejected) for data in needed)
    return look.finish(*creates, requeue_after_s=look.settings.resync_s)


def _again(look: Pass) -> Pass:
    """The same pass with a fresh draft."""
    return Pass(
        snapshot=look.snapshot,
        settings=look.settings,
        now=look.now,
        draft=StatusDraft(look.request, look.now),
    )


def _no_job(look: Pass, why: str) -> Outcome:
    look.draft.fail(PROFILING, "JobCreationFailed", why)
    look.emit("ProfilingJobFailed", why, warning=True)
    return look.finish()


def _generation_of(job: Json) -> str:
    return str(section(job, "metadata", "annotations").get(GENERATION_ANNOTATION, ""))


def _account(namespace: str) -> tuple[Json, Json]:
    """The service account of profiling Jobs and its rights in the namespace."""
    metadata = {"name": JOB_ACCOUNT, "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    binding: Json = {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": JOB_ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, binding


def _ready(look: Pass) -> Outcome:
    if look.spec.get("autoApply", True):
        look.draft.enter(Phase.DEPLOYING, "autoApply was switched on")
        return look.finish(requeue_after_s=_AT_ONCE_S)
    return look.finish()


def _failed(look: Pass) -> Outcome:
    """Failed is left only with a corrected spec."""
    if look.generation <= int(look.draft.status.get("observedGeneration") or 0):
        return Outcome()
    draft = look.draft
    for key in ("profilingPhase", "profilingJobName", "profilingResults", "dgdName"):
        draft.put(key, None)
    draft.put("deploymentInfo", None)
    draft.drop_conditions()
    draft.put("phase", Phase.PENDING.value)
    draft.condition(
        SUCCEEDED, holds=False, reason=Phase.PENDING.value, message="the spec was corrected"
    )
    return look.finish(requeue_after_s=_AT_ONCE_S)
