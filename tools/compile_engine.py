"""Compile the engine to a native extension, from the same source, with mypyc.

``make fast`` runs this. The result lies beside the source and Python prefers it; ``make
slow`` removes it. Nothing needs it: the pure-Python engine gives the same numbers to the
last bit, at about twice the CPU time of a whole simulation.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "simcore" / "engine"
AROUND = (
    "cluster/worker.py",
    "cluster/pool.py",
    "cluster/cluster.py",
    "cluster/history.py",
    "cluster/request.py",
    "observe/recorder.py",
    "perf/roofline.py",
    "simulation.py",
)


def sources() -> list[Path]:
    """Files that are compiled: the engine, not its token loop, and what runs for each event."""
    engine = [
        path
        for folder in (ENGINE, ENGINE / "schedulers")
        for path in sorted(folder.glob("*.py"))
        if path != ENGINE / "__init__.py"
    ]
    return engine + [ROOT / "simcore" / name for name in AROUND]


def products() -> list[Path]:
    """Extensions that lie in the checkout now."""
    folder = ROOT / "simcore"
    found = [*folder.rglob("*.so"), *folder.rglob("*.pyd")]
    return found + [path for path in ROOT.glob("*__mypyc*") if path.suffix in (".so", ".pyd")]


def stale() -> bool:
    """Whether a source is newer than an extension."""
    built = products()
    newest = max(path.stat().st_mtime for path in sources())
    return bool(built) and min(path.stat().st_mtime for path in built) < newest


def clean() -> None:
    """Remove the extensions."""
    for path in products():
        path.unlink()


def compile_engine() -> int:
    """Compile and put the extensions beside the source; returns the compiler's exit code."""
    clean()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for package in ("contracts", "simcore"):
            shutil.copytree(ROOT / package, work / package)
        files = [str(path.relative_to(ROOT)) for path in sources()]
        command = [sys.executable, "-m", "mypyc", "--ignore-missing-imports", *files]
        (work / "mypy.ini").write_text("[mypy]\n", encoding="utf-8")
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stdout[-4000:] + done.stderr[-4000:])
            return done.returncode
        built = [*(work / "simcore").rglob("*.so"), *work.glob("*__mypyc*.so")]
        for path in built:
            shutil.copy(path, ROOT / path.relative_to(work))
    sys.stdout.write(f"compiled {len(files)} modules of the engine\n")
    return 0


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean", action="store_true", help="remove the extensions")
    if parser.parse_args().clean:
        clean()
        return 0
    return compile_engine()


if __name__ == "__main__":
    raise SystemExit(main())
