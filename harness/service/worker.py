"""``python -m harness.service.worker``: runs one job after the other for the service.

A job is a line of JSON on stdin, what happens is lines of JSON on stdout. A worker whose
stdin ends has lost its service and breaks off, so that no run goes on unseen.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from contracts.errors import InfeasibleError, InputError, RehearsalError, UnsupportedError
from harness.run import Profiles
from harness.service.rehearse import Order, work

_GONE = 3
# A run that is broken off may have a cluster to take down and a manifest to write.
_CLEAN_UP_S = 45.0


def main() -> int:
    """Work until stdin ends; SIGINT breaks off the present job, if there is one."""
    jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
    busy = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if busy.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    threading.Thread(target=_read, args=(jobs, busy), daemon=True).start()
    _say({"kind": "ready"})
    profiles = Profiles(draw=False)
    while (job := jobs.get()) is not None:
        try:
            busy.set()
            outcome = _run(job, profiles)
            busy.clear()
        except KeyboardInterrupt:
            busy.clear()
            outcome = {"kind": "cancelled"}
        _say(outcome)
    return 0


def _read(jobs: queue.Queue[dict[str, Any] | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    jobs.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(_CLEAN_UP_S)
        os._exit(_GONE)


def _run(job: dict[str, Any], profiles: Profiles) -> dict[str, Any]:
    def progress(phase: str, done: int, total: int) -> None:
        _say({"kind": "progress", "phase": phase, "done": done, "total": total})

    try:
        order = Order(**job | {"rungs": tuple(job["rungs"]), "seeds": tuple(job["seeds"])})
        result = work(order, profiles, progress)
    except (InputError, UnsupportedError, InfeasibleError) as error:
        return {"kind": "refused", "error": str(error).replace(_place(job), "")}
    except RehearsalError as error:
        return {"kind": "failed", "error": str(error)}
    except Exception as error:  # noqa: BLE001  # our bug; the next job must still run
        return {"kind": "failed", "error": f"bug: {type(error).__name__}: {error}"}
    return {"kind": "done", **asdict(result)}


def _place(job: dict[str, Any]) -> str:
    """The folder of a job, which says nothing to the one who handed it in."""
    return f"{Path(job['scenario']).parent}{os.sep}"


def _say(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(_GONE)


if __name__ == "__main__":
    sys.exit(main())
