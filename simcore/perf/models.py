"""Model architectures: bundled facts and any local Hugging Face ``config.json``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from contracts.errors import InputError, UnsupportedError
from contracts.model import Dtype, ModelArchitecture

# Quantised checkpoints have the shape of their base model.
_SUFFIXES = {"-fp8": Dtype.FP8, "-fp4": Dtype.FP4, "-nvfp4": Dtype.FP4}
_NAMES_SHOWN = 4
_EXPERT_KEYS = ("num_experts", "num_local_experts", "n_routed_experts")
# Keys of architectures whose layers are not all attention and MLP.
_FOREIGN_KEYS = ("ssm_cfg", "mamba_d_state", "mamba_num_heads", "linear_num_key_heads")


@cache
def _bundled() -> dict[str, tuple[ModelArchitecture, Dtype]]:
    """Architecture and type of the published weights by lower-case id."""
    file = resources.files("simcore.perf").joinpath("data/models.json")
    entries = json.loads(file.read_text(encoding="utf-8"))["models"]
    models = [_from_entry(entry) for entry in entries]
    return {model.model_id.lower(): (model, dtype) for model, dtype in models}


def _from_entry(entry: dict[str, Any]) -> tuple[ModelArchitecture, Dtype]:
    experts, weights = entry.pop("expert_dtype", None), entry.pop("weight_dtype", "bf16")
    model = ModelArchitecture(**entry, expert_dtype=Dtype(experts) if experts else None)
    return model, Dtype(weights)


KNOWN_MODELS: tuple[str, ...] = tuple(model.model_id for model, _ in _bundled().values())


def architecture(model_id: str) -> ModelArchitecture:
    """Bundled architecture of a model, case-insensitive.

    Raises:
        InputError: not bundled; names what is most like it, and the way out.
    """
    name = _base_name(model_id)
    try:
        return _bundled()[name][0]
    except KeyError:
        raise InputError(
            "no bundled architecture for this model; give its local config.json instead",
            value=model_id,
            allowed=_nearest(name),
        ) from None


def is_bundled(model_id: str) -> bool:
    """Whether :func:`architecture` knows a model."""
    return _base_name(model_id) in _bundled()


def _base_name(model_id: str) -> str:
    name = model_id.lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _nearest(name: str) -> str:
    """The names that are most like one, and how many others there are."""
    near = difflib.get_close_matches(name, _bundled(), n=_NAMES_SHOWN, cutoff=0.0)
    shown = [_bundled()[each][0].model_id for each in near]
    return f"{', '.join(shown)}, or one of {len(KNOWN_MODELS) - len(shown)} others"


def checkpoint_dtype(model_id: str, config: Mapping[str, object] | None = None) -> Dtype:
    """Type in which a checkpoint stores its weights, experts of a type of their own aside.

    From ``quantization_config`` of its ``config.json``, else from the bundled facts, else from
    the end of its name (``-FP8``, ``-FP4``, ``-NVFP4``); 16 bits without any of them.

    Raises:
        UnsupportedError: weights of a type that is not modelled, such as 4-bit integers.
    """
    if config is not None:
        stored = config.get("quantization_config")
        return _quantised(model_id, stored) if isinstance(stored, Mapping) else Dtype.BF16
    name = model_id.lower()
    for suffix, dtype in _SUFFIXES.items():
        if name.endswith(suffix):
            return dtype
    return _bundled()[name][1] if name in _bundled() else Dtype.BF16


def _quantised(model_id: str, stored: Mapping[str, object]) -> Dtype:
    """Reads the ways in which checkpoints say how they were quantised."""
    words = json.dumps([stored.get(k) for k in ("quant_method", "quant_algo", "format")]).lower()
    if "mxfp4" in words:
        return Dtype.BF16  # experts only, see expert_dtype
    if "fp4" in words:
        return Dtype.FP4
    groups = json.dumps(stored.get("config_groups", {}))
    eight_bits = '"num_bits": 8' in groups and '"type": "float"' in groups
    if "fp8" in words or eight_bits:
        return Dtype.FP8
    raise UnsupportedError(f"{model_id}: weights quantised as {words} are not modelled")


def architecture_from_config(model_id: str, config: Mapping[str, object]) -> ModelArchitecture:
    """Read the architecture from the content of a Hugging Face ``config.json``.

    Raises:
        InputError: a needed key is missing or not a positive integer.
        UnsupportedError: layers that are neither attention nor MLP.
    """
    for key in _FOREIGN_KEYS:
        if config.get(key):
            raise UnsupportedError(f"{model_id}: {key} marks layers that cannot be priced")
    hidden = _positive(config, "hidden_size", model_id)
    heads = _positive(config, "num_attention_heads", model_id)
    layers = _positive(config, "num_hidden_layers", model_id)
    intermediate = _positive(config, "intermediate_size", model_id)
    special = _experts(config, model_id, intermediate) | _latent(config, model_id)
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        special["sliding_layers"] = sum(kind == "sliding_attention" for kind in kinds)
    head_dim = special.pop("head_dim", 0) or _positive(
        config, "head_dim", model_id, default=hidden // heads
    )
    return ModelArchitecture(
        model_id=model_id,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=_positive(config, "num_key_value_heads", model_id, default=heads),
        head_dim=head_dim,
        vocab=_positive(config, "vocab_size", model_id),
        max_position=_positive(config, "max_position_embeddings", model_id, default=8192),
        tied_embeddings=config.get("tie_word_embeddings") is True,
        experts=special.get("experts", 0),
        experts_per_token=special.get("experts_per_token", 0),
        expert_intermediate=special.get("expert_intermediate", 0),
        shared_experts=special.get("shared_experts", 0),
        dense_layers=special.get("dense_layers", 0),
        sliding_layers=special.get("sliding_layers", 0),
        q_lora_rank=special.get("q_lora_rank", 0),
        kv_lora_rank=special.get("kv_lora_rank", 0),
        rope_head_dim=special.get("rope_head_dim", 0),
        v_head_dim=special.get("v_head_dim", 0),
    )


def _experts(config: Mapping[str, object], model_id: str, intermediate: int) -> dict[str, int]:
    key = next((key for key in _EXPERT_KEYS if config.get(key)), None)
    if key is None:
        return {}
    per_token = next(
        (k for k in ("num_experts_per_tok", "experts_per_token") if config.get(k)),
        "num_experts_per_tok",
    )
    shared = config.get("n_shared_experts")
    dense = config.get("first_k_dense_replace")
    return {
        "experts": _positive(config, key, model_id),
        "experts_per_token": _positive(config, per_token, model_id),
        "expert_intermediate": _positive(
            config, "moe_intermediate_size", model_id, default=intermediate
        ),
        "shared_experts": shared if isinstance(shared, int) else 0,
        "dense_layers": dense if isinstance(dense, int) else 0,
    }


def _latent(config: Mapping[str, object], model_id: str) -> dict[str, int]:
    if not config.get("kv_lora_rank"):
        return {}
    rank = config.get("q_lora_rank")
    return {
        "q_lora_rank": rank if isinstance(rank, int) else 0,
        "kv_lora_rank": _positive(config, "kv_lora_rank", model_id),
        "rope_head_dim": _positive(config, "qk_rope_head_dim", model_id),
        "head_dim": _positive(config, "qk_nope_head_dim", model_id),
        "v_head_dim": _positive(config, "v_head_dim", model_id),
    }


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
