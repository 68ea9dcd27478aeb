"""Writes files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace a file; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path


def write_text(path: Path, text: str) -> Path:
    """Replace a UTF-8 text file."""
    return write_bytes(path, text.encode())


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[np.float64]]) -> Path:
    """Replace an npz file of named arrays."""
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # type: ignore[arg-type]
    return write_bytes(path, buffer.getvalue())
