"""``python -m dgdr.operator.output``: the output-copier container of a profiling Job."""

from __future__ import annotations

import argparse
import logging
import threading
from pathlib import Path

from contracts.exits import end_with
from dgdr.operator.api import ApiError
from dgdr.operator.client import KubeClient
from dgdr.operator.clock import Clock, SystemClock
from dgdr.operator.copier import EXIT_WAIT_S, POD_LOOK_S, POLL_S, OutputCopier
from dgdr.operator.settings import copier_environment

_log = logging.getLogger(__name__)
_NO_RESULT = 1


def follow(copier: OutputCopier, clock: Clock, *, poll_s: float, exit_wait_s: float) -> int:
    """Copy until the profiler has ended; 1 when it left no result in time."""
    never = threading.Event()
    ended_s: float | None = None
    look_s = clock.steady_s()
    while True:
        try:
            code = copier.poll()
        except ApiError as error:
            if error.refused:
                raise
            _log.warning("the result cannot be written yet: %s", error)
            code = None
        if code is not None:
            return code
        if ended_s is None and clock.steady_s() >= look_s:
            look_s = clock.steady_s() + POD_LOOK_S
            ended_s = clock.steady_s() if copier.profiler_ended() else None
        if ended_s is not None and clock.steady_s() - ended_s >= exit_wait_s:
            _log.error("the profiler ended without a result")
            return _NO_RESULT
        clock.wait(never, poll_s)


def main() -> None:
    """Follow the profiler and copy what it finds into the output ConfigMap."""
    parser = argparse.ArgumentParser(
        prog="python -m dgdr.operator.output", description=main.__doc__
    )
    parser.add_argument("--output-dir", type=Path, default=Path("/data"))
    parser.add_argument("--kubeconfig", default=None)
    parser.add_argument("--poll-s", type=float, default=POLL_S)
    parser.add_argument("--exit-wait-s", type=float, default=EXIT_WAIT_S)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    clock = SystemClock()

    def run() -> int:
        client = KubeClient(given.kubeconfig)
        copier = OutputCopier(client, clock, given.output_dir, copier_environment())
        return follow(copier, clock, poll_s=given.poll_s, exit_wait_s=given.exit_wait_s)

    end_with(run)


if __name__ == "__main__":
    main()
