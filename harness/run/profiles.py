"""Profiles that were made before: the same request gives the same profile, so it is made once."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from profiler import ProfileResult

Make = Callable[[Path], ProfileResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    result: ProfileResult
    files: Mapping[str, bytes]


class Profiles:
    """Keeps the latest profiles of this process with all their files.

    A profile depends on nothing but what its digest covers, so one from here is the same bit
    for bit as one made anew; only the times in ``profiler_status.yaml`` are those of the first.

    Args:
        keep: profiles at most; the one that was not used for longest goes first.
        draw: whether new ones are to have plots.
    """

    def __init__(self, keep: int = 8, *, draw: bool = True) -> None:
        self.draw = draw
        self._keep = keep
        self._kept = OrderedDict[str, _Kept]()

    def get(self, key: str, folder: Path, make: Make) -> ProfileResult:
        """The profile of a digest with its files in ``folder``; ``make`` makes it if need be.

        Args:
            key: of :func:`profile_key`.
            folder: where the files are to lie; ``make`` is called with it.
            make: an error from it is passed on, and nothing is kept.
        """
        kept = self._kept.get(key)
        if kept is None:
            result = make(folder)
            files = {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
            self._kept[key] = _Kept(result=result, files=files)
            if len(self._kept) > self._keep:
                self._kept.popitem(last=False)
            return result
        self._kept.move_to_end(key)
        for name, content in kept.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        names = {name: path.name for name, path in kept.result.files.items()}
        moved = {name: folder / (name if name in kept.files else names[name]) for name in names}
        return replace(kept.result, files=moved)


def profile_key(texts: Mapping[str, str | None], options: Mapping[str, object]) -> str:
    """Digest of everything that a profile depends on.

    Args:
        texts: content of the files that the profiler reads, ``None`` for those not given.
        options: plain values.
    """
    content = json.dumps([dict(texts), dict(options)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
