"""What ``harness bench planner`` left in a folder: ``summary.md`` with its tables, and plots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InputError

SUMMARY_FILE = "summary.md"
PLOT_SUFFIXES = (".png", ".svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A piece of the summary.

    Attributes:
        text: of a heading or a paragraph; empty for a table.
        level: of a heading, from 1; 0 for anything else.
        head: of a table.
        rows: of a table.
    """

    text: str = ""
    level: int = 0
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOutput:
    """The page; names are relative to the folder."""

    blocks: tuple[Block, ...]
    plots: tuple[str, ...]
    others: tuple[str, ...]


def bench_output(folder: Path) -> BenchOutput:
    """Read the summary of a folder and list its other files.

    Raises:
        InputError: there is no summary yet.
    """
    try:
        text = (folder / SUMMARY_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"has no {SUMMARY_FILE}, as harness bench planner writes it",
            path="--planner-bench",
            value=str(folder),
        ) from error
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    )
    return BenchOutput(
        blocks=tuple(blocks_of(text)),
        plots=tuple(name for name in names if name.endswith(PLOT_SUFFIXES)),
        others=tuple(name for name in names if not name.endswith(PLOT_SUFFIXES)),
    )


def blocks_of(text: str) -> list[Block]:
    """Headings, tables and paragraphs of plain Markdown."""
    blocks: list[Block] = []
    table: list[tuple[str, ...]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            table.append(tuple(_plain(cell) for cell in line.strip().strip("|").split("|")))
            continue
        if table:
            rows = [row for row in table[1:] if not all(set(cell) <= set("-:") for cell in row)]
            blocks.append(Block(head=table[0], rows=tuple(rows)))
            table = []
        if line.strip():
            hashes = len(line) - len(line.lstrip("#"))
            blocks.append(Block(text=_plain(line.lstrip("#")), level=hashes))
    return blocks


def _plain(text: str) -> str:
    return text.replace("**", "").replace("`", "").strip()
