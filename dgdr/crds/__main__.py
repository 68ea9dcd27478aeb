"""``python -m dgdr.crds --write deploy/crds``: writes or prints the CRDs."""

from __future__ import annotations

import argparse
from pathlib import Path

from contracts.exits import end_with
from dgdr.crds import crd_files, render_crd


def main() -> None:
    """Write the CustomResourceDefinitions into a folder, or print them."""
    parser = argparse.ArgumentParser(prog="python -m dgdr.crds", description=main.__doc__)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="folder of the files")
    folder: Path | None = parser.parse_args().write
    end_with(lambda: _write(folder))


def _write(folder: Path | None) -> None:
    for name, document in crd_files().items():
        text = render_crd(document)
        if folder is None:
            print(text, end="")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
