"""How a process ends when it is interrupted, wherever the signal falls."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The signal is raised at the very place under test, so no time plays a part.
START = "import contextlib, os, signal, time, weakref; from contracts.exits import end_with\n"
IN_PLAIN_CODE = "def work(): signal.raise_signal(signal.{name}); time.sleep(20)\n"
IN_EXEC = "def work(): exec('signal.raise_signal(signal.{name})'); time.sleep(20)\n"
IN_CALLBACK = """
class Thing: pass
def work():
    thing = Thing()
    ref = weakref.ref(thing, lambda _: signal.raise_signal(signal.{name}))
    del thing
    time.sleep(20)
"""
IN_EVENT_LOOP = """
import asyncio
async def wait():
    try:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.{name})
        await asyncio.sleep(20)
    finally:
        print("cleaned up", flush=True)
def work(): asyncio.run(wait())
"""


IGNORED = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as a shell's background jobs do


@pytest.mark.parametrize(
    ("name", "before"), [("SIGINT", ""), ("SIGTERM", ""), ("SIGTERM", IGNORED)]
)
@pytest.mark.parametrize("work", [IN_PLAIN_CODE, IN_EXEC, IN_CALLBACK, IN_EVENT_LOOP])
def test_an_interrupt_ends_the_process_with_130(
    tmp_path: Path, work: str, name: str, before: str
) -> None:
    (tmp_path / "ended.py").write_text(
        START + before + work.format(name=name) + "end_with(work, interrupted='told')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "ended"],
        capture_output=True, text=True, timeout=20, check=False,
        env={"PYTHONPATH": f"{tmp_path}:{':'.join(sys.path)}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "told\n")
    assert ("cleaned up" in done.stdout) == (work is IN_EVENT_LOOP)
