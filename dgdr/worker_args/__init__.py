"""Reads the command line of a worker, so that a deployment can be rehearsed as it stands.

Every option is honoured, known to have no effect on time, or refused by name; nothing is
dropped silently.
"""

from __future__ import annotations

from collections.abc import Sequence

from contracts.settings import EngineSettings
from dgdr.enums import ServingBackend
from dgdr.worker_args import mocker, sglang, trtllm, vllm
from dgdr.worker_args.mocker import MockerSettings, read_mocker
from dgdr.worker_args.sglang import read_sglang
from dgdr.worker_args.trtllm import read_trtllm
from dgdr.worker_args.vllm import read_vllm

__all__ = ["MockerSettings", "option_key", "read_mocker", "read_worker_args"]

_READERS = {
    ServingBackend.VLLM: read_vllm,
    ServingBackend.SGLANG: read_sglang,
    ServingBackend.TRTLLM: read_trtllm,
}
_TABLES = {
    ServingBackend.VLLM: vllm.OPTIONS,
    ServingBackend.SGLANG: sglang.OPTIONS,
    ServingBackend.TRTLLM: trtllm.OPTIONS,
}


def option_key(backend: ServingBackend | None, word: str) -> str:
    """What a word of a command line is about, the same for all spellings of an option.

    Args:
        backend: whose command line it is; ``None`` is that of a mocker.
        word: an option, with or without ``=value``.
    """
    return (mocker.OPTIONS if backend is None else _TABLES[backend]).key(word)


def read_worker_args(backend: ServingBackend, args: Sequence[str]) -> EngineSettings:
    """Settings of ``python3 -m dynamo.<backend>`` with these arguments.

    Raises:
        InputError: an option that the backend does not have, or a value that it refuses.
        UnsupportedError: an option that changes how fast the engine is and is not modelled.
    """
    return _READERS[backend](args)
