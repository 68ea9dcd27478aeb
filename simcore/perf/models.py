"""Model architectures: bundled facts and any local Hugging Face ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping

from contracts.errors import InputError, UnsupportedError
from contracts.model import ModelArchitecture


def _llama(
    model_id: str, layers: int, hidden: int, intermediate: int, heads: int
) -> ModelArchitecture:
    return ModelArchitecture(
        model_id=model_id,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=128_256,
        max_position=131_072,
    )


def _qwen3(
    size: str, layers: int, hidden: int, intermediate: int, heads: int, *, tied: bool = False
) -> ModelArchitecture:
    return ModelArchitecture(
        model_id=f"Qwen/Qwen3-{size}",
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=151_936,
        max_position=40_960,
        tied_embeddings=tied,
    )


def _llama2(
    model_id: str, layers: int, hidden: int, intermediate: int, heads: tuple[int, int]
) -> ModelArchitecture:
    return ModelArchitecture(
        model_id=model_id,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads[0],
        kv_heads=heads[1],
        head_dim=128,
        vocab=32_000,
        max_position=16_384 if "Code" in model_id else 4096,
    )


_BUNDLED = (
    _llama2("meta-llama/Llama-2-7b-hf", 32, 4096, 11_008, (32, 32)),
    _llama2("meta-llama/Llama-2-70b-hf", 80, 8192, 28_672, (64, 8)),
    _llama2("codellama/CodeLlama-34b-Instruct-hf", 48, 8192, 22_016, (64, 8)),
    _llama("meta-llama/Llama-3.3-70B-Instruct", 80, 8192, 28_672, 64),
    _qwen3("14B", 40, 5120, 17_408, 40),
    *(
        _llama(f"meta-llama/{name}", 32, 4096, 14_336, 32)
        for name in ("Llama-3.1-8B", "Llama-3.1-8B-Instruct")
    ),
    *(
        _llama(f"meta-llama/{name}", 80, 8192, 28_672, 64)
        for name in ("Llama-3.1-70B", "Llama-3.1-70B-Instruct")
    ),
    _qwen3("0.6B", 28, 1024, 3072, 16, tied=True),
    _qwen3("8B", 36, 4096, 12_288, 32),
    _qwen3("32B", 64, 5120, 25_600, 64),
)
_BY_ID = {model.model_id.lower(): model for model in _BUNDLED}
# Quantised checkpoints have the shape of their base model.
_SUFFIXES = ("-fp8",)
KNOWN_MODELS: tuple[str, ...] = tuple(model.model_id for model in _BUNDLED)

_MOE_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")


def architecture(model_id: str) -> ModelArchitecture:
    """Bundled architecture of a model, case-insensitive.

    Raises:
        InputError: not bundled; lists what is and names the way out.
    """
    name = model_id.lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    try:
        return _BY_ID[name]
    except KeyError:
        raise InputError(
            "no bundled architecture for this model; give its local config.json instead",
            value=model_id,
            allowed=", ".join(KNOWN_MODELS),
        ) from None


def architecture_from_config(model_id: str, config: Mapping[str, object]) -> ModelArchitecture:
    """Read the architecture from the content of a Hugging Face ``config.json``.

    Raises:
        InputError: a needed key is missing or not a positive integer.
        UnsupportedError: mixture-of-experts or latent attention, which the dense
            step-time model cannot price.
    """
    for key in _MOE_KEYS:
        if config.get(key):
            raise UnsupportedError(f"{model_id}: {key} marks a mixture of experts, not dense")
    if config.get("kv_lora_rank"):
        raise UnsupportedError(f"{model_id}: kv_lora_rank marks latent attention, not dense")
    hidden = _positive(config, "hidden_size", model_id)
    heads = _positive(config, "num_attention_heads", model_id)
    return ModelArchitecture(
        model_id=model_id,
        layers=_positive(config, "num_hidden_layers", model_id),
        hidden=hidden,
        intermediate=_positive(config, "intermediate_size", model_id),
        heads=heads,
        kv_heads=_positive(config, "num_key_value_heads", model_id, default=heads),
        head_dim=_positive(config, "head_dim", model_id, default=hidden // heads),
        vocab=_positive(config, "vocab_size", model_id),
        max_position=_positive(config, "max_position_embeddings", model_id, default=8192),
        tied_embeddings=config.get("tie_word_embeddings") is True,
    )


def _positive(
    config: Mapping[str, object], key: str, source: str, default: int | None = None
) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(
            "model configuration needs a positive integer here",
            source=source,
            path=key,
            value=repr(value),
        )
    return value
