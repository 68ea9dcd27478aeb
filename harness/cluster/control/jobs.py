"""Jobs: pods until enough succeeded, or too many failed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.cluster.control.client import Client
from harness.cluster.control.loop import Key, key_of
from harness.cluster.kinds.builtin_defaults import JOB_NAME
from harness.cluster.objects.meta import (
    Obj,
    condition,
    controller_of,
    controller_reference,
    copied,
    deleting,
    name_of,
    namespace_of,
    parsed_time,
    set_condition,
    uid_of,
)
from harness.cluster.store import Change

STORAGE = "jobs.batch"
INDEX = "batch.kubernetes.io/job-completion-index"
_OVER = frozenset({"Succeeded", "Failed"})
_MOST_BACKOFF_S = 360.0


@dataclass(slots=True, kw_only=True)
class _Pods:
    """The pods of a job by state."""

    active: list[Obj]
    succeeded: list[Obj]
    failed: list[Obj]
    terminating: int


class JobController:
    """Runs jobs.

    Attributes:
        backoff_s: wait before the first pod that replaces a failed one; doubles each time.
    """

    name = "jobs"

    def __init__(self, client: Client, *, backoff_s: float) -> None:
        self._client = client
        self._backoff_s = backoff_s

    def keys(self, change: Change) -> Iterable[Key]:
        """Jobs, and the jobs of pods."""
        if change.resource == STORAGE and change.kind != "DELETED":
            yield key_of(change)
        elif change.resource == "pods":
            owner = controller_of(change.obj)
            if owner is not None and owner.get("kind") == "Job":
                yield (namespace_of(change.obj), owner["name"])

    def reconcile(self, namespace: str, name: str) -> float | None:
        """One step for one job."""
        job = self._client.store.get(STORAGE, namespace, name)
        if job is None or deleting(job):
            return None
        if _finished(job):
            return self._expire(job)
        pods = self._pods(job)
        now_s = self._client.clock.unix_s()
        status = copied(job.get("status") or {})
        self._end(job, status, pods)
        spec = job["spec"]
        if spec.get("suspend"):
            for pod in pods.active:
                self._client.delete("pods", pod)
            pods.active.clear()
        else:
            status.setdefault("startTime", self._client.now())
        over = any(c["type"] in {"Complete", "Failed"} for c in status.get("conditions") or ())
        wait_s = None
        if not over and not spec.get("suspend"):
            wait_s = self._start_pods(job, pods, now_s)
        self._set_suspended(job, status)
        self._count(status, pods)
        self._client.set_status(STORAGE, job, status)
        deadline = spec.get("activeDeadlineSeconds")
        if deadline is not None and not over and status.get("startTime"):
            left_s = parsed_time(status["startTime"]) + deadline - now_s
            wait_s = left_s if wait_s is None else min(wait_s, left_s)
        return None if wait_s is None else max(0.01, wait_s)

    def _pods(self, job: Obj) -> _Pods:
        found = _Pods(active=[], succeeded=[], failed=[], terminating=0)
        for pod in self._client.store.list("pods", namespace_of(job)):
            owner = controller_of(pod)
            if owner is None or owner.get("uid") != uid_of(job):
                continue
            phase = (pod.get("status") or {}).get("phase")
            if phase == "Succeeded":
                found.succeeded.append(pod)
            elif phase == "Failed":
                found.failed.append(pod)
            elif deleting(pod):
                found.terminating += 1
            else:
                found.active.append(pod)
        return found

    def _end(self, job: Obj, status: Obj, pods: _Pods) -> None:
        """Set the last conditions if the job is over; stop what still runs."""
        spec = job["spec"]
        wanted = spec.get("completions")
        restarts = sum(_restarts(pod) for pod in pods.active)
        enough = len(pods.succeeded) >= (1 if wanted is None else wanted)
        if wanted is None and pods.active:
            enough = False
        failures = len(pods.failed) + restarts
        limit = spec.get("backoffLimit", 6)
        deadline, start = spec.get("activeDeadlineSeconds"), status.get("startTime")
        late = (
            deadline is not None
            and start is not None
            and self._client.clock.unix_s() - parsed_time(start) >= deadline
        )
        if enough:
            self._finish(status, "SuccessCriteriaMet", "CompletionsReached", "Reached expected "
                         "number of succeeded pods")  # fmt: skip
            self._finish(status, "Complete", "CompletionsReached", "Reached expected number of "
                         "succeeded pods")  # fmt: skip
            status["completionTime"] = self._client.now()
            self._client.event(job, "Completed", "Job completed")
        elif failures > limit or late:
            reason = "DeadlineExceeded" if late else "BackoffLimitExceeded"
            text = (
                "Job was active longer than specified deadline"
                if late
                else "Job has reached the specified backoff limit"
            )
            self._finish(status, "FailureTarget", reason, text)
            self._finish(status, "Failed", reason, text)
            self._client.event(job, reason, text, warning=True)
        else:
            return
        for pod in pods.active:
            self._client.delete("pods", pod)
        pods.active.clear()

    def _finish(self, status: Obj, kind: str, reason: str, message: str) -> None:
        wanted = {"type": kind, "status": "True", "reason": reason, "message": message}
        now = self._client.now()
        status["conditions"] = set_condition(status.get("conditions") or [], wanted, now)
        status["conditions"][-1].setdefault("lastProbeTime", now)

    def _set_suspended(self, job: Obj, status: Obj) -> None:
        suspended = bool(job["spec"].get("suspend"))
        if not suspended and condition({"status": status}, "Suspended") is None:
            return
        wanted = {
            "type": "Suspended",
            "status": "True" if suspended else "False",
            "reason": "JobSuspended" if suspended else "JobResumed",
            "message": "Job suspended" if suspended else "Job resumed",
        }
        conditions = status.get("conditions") or []
        status["conditions"] = set_condition(conditions, wanted, self._client.now())

    def _start_pods(self, job: Obj, pods: _Pods, now_s: float) -> float | None:
        """Create missing pods; returns seconds to wait if a failure is too fresh."""
        spec = job["spec"]
        wanted = spec.get("completions")
        parallel = spec.get("parallelism", 1)
        left = parallel if wanted is None else min(parallel, wanted - len(pods.succeeded))
        if wanted is None and pods.succeeded:
            left = 0
        missing = left - len(pods.active) - pods.terminating
        if missing <= 0:
            return None
        if pods.failed:
            last_s = max(_ended_s(pod, now_s) for pod in pods.failed)
            backoff_s: float = self._backoff_s * 2 ** (len(pods.failed) - 1)
            wait_s = last_s + min(_MOST_BACKOFF_S, backoff_s) - now_s
            if wait_s > 0:
                return wait_s
        used = {_index(pod) for pod in [*pods.active, *pods.succeeded]}
        free = (index for index in range(10**6) if index not in used)
        for _ in range(missing):
            pods.active.append(self._create(job, next(free)))
        return None

    def _create(self, job: Obj, index: int) -> Obj:
        template = copied(job["spec"]["template"])
        metadata = template.setdefault("metadata", {})
        stem = f"{name_of(job)}-"
        if job["spec"].get("completionMode") == "Indexed":
            stem = f"{name_of(job)}-{index}-"
            metadata.setdefault("annotations", {})[INDEX] = str(index)
            metadata.setdefault("labels", {})[INDEX] = str(index)
            for container in template["spec"].get("containers") or ():
                variable = {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
                container.setdefault("env", []).append(variable)
        metadata |= {
            "generateName": stem,
            "namespace": namespace_of(job),
            "ownerReferences": [controller_reference(job)],
        }
        metadata.setdefault("labels", {}).setdefault(JOB_NAME, name_of(job))
        pod = self._client.create("pods", {"apiVersion": "v1", "kind": "Pod", **template})
        self._client.event(job, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return pod

    @staticmethod
    def _count(status: Obj, pods: _Pods) -> None:
        ready = 0
        for pod in pods.active:
            found = condition(pod, "Ready")
            ready += found is not None and found.get("status") == "True"
        for key, value in (
            ("active", len(pods.active)),
            ("succeeded", len(pods.succeeded)),
            ("failed", len(pods.failed)),
        ):
            if value:
                status[key] = value
            else:
                status.pop(key, None)
        status["ready"] = ready
        status["terminating"] = pods.terminating
        status["uncountedTerminatedPods"] = {}

    def _expire(self, job: Obj) -> float | None:
        lifetime = job["spec"].get("ttlSecondsAfterFinished")
        if lifetime is None:
            return None
        ends = [
            parsed_time(c["lastTransitionTime"])
            for c in job["status"]["conditions"]
            if c["type"] in {"Complete", "Failed"}
        ]
        left_s = max(ends) + float(lifetime) - self._client.clock.unix_s()
        if left_s > 0:
            return left_s
        self._client.delete(STORAGE, job, propagationPolicy="Background")
        return None


def _finished(job: Obj) -> bool:
    return any(
        (found := condition(job, kind)) is not None and found.get("status") == "True"
        for kind in ("Complete", "Failed")
    )


def _restarts(pod: Obj) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(item.get("restartCount", 0) for item in statuses)


def _ended_s(pod: Obj, default_s: float) -> float:
    ends = [
        ((item.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for item in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max((parsed_time(end) for end in ends if end), default=default_s)


def _index(pod: Obj) -> int:
    return int(((pod.get("metadata") or {}).get("annotations") or {}).get(INDEX, -1))
