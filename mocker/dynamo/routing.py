"""How a frontend chooses workers, under the names that Dynamo gives it.

An option of the command line counts before its variable, as in Dynamo 1.x (reference of its
frontend's configuration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contracts.errors import InputError, UnsupportedError
from contracts.plan import RouterPolicy, RouterSettings
from mocker.dynamo.settings import option

MODE_VARIABLE = "DYN_ROUTER_MODE"
MIGRATION_VARIABLE = "DYN_MIGRATION_LIMIT"
MODE_OPTION, MIGRATION_OPTION = "--router-mode", "--migration-limit"
# ``random`` draws one worker where ours draws two and takes the emptier one.
_MODES = {
    "round-robin": RouterPolicy.ROUND_ROBIN,
    "least-loaded": RouterPolicy.LEAST_LOADED,
    "power-of-two": RouterPolicy.POWER_OF_TWO,
    "random": RouterPolicy.POWER_OF_TWO,
    "kv": RouterPolicy.KV_AWARE,
}
_NOT_MODELLED = ("direct", "device-aware-weighted")
# Option of the KV router, its variable, and the knob of ours.
_KNOBS = (
    ("--router-temperature", "DYN_ROUTER_TEMPERATURE", "temperature"),
    (
        "--router-kv-overlap-score-credit",
        "DYN_ROUTER_KV_OVERLAP_SCORE_CREDIT",
        "overlap_credit",
    ),
    ("--router-prefill-load-scale", "DYN_ROUTER_PREFILL_LOAD_SCALE", "prefill_load_scale"),
)
ROUTING_OPTIONS = (MODE_OPTION, MIGRATION_OPTION, *(name for name, _, _ in _KNOBS))


def mode_of(policy: RouterPolicy) -> str:
    """Dynamo's name of a policy.

    Raises:
        UnsupportedError: it has none.
    """
    for mode, each in _MODES.items():
        if each is policy:
            return mode
    raise UnsupportedError(f"Dynamo's frontend has no router like {policy.value}")


def policy_of(args: Sequence[str], variables: Mapping[str, str]) -> RouterPolicy:
    """The policy that a frontend is told; round robin when it is told none.

    Raises:
        UnsupportedError: a mode that is not modelled.
        InputError: no mode.
    """
    mode = option(args, MODE_OPTION) or variables.get(MODE_VARIABLE) or "round-robin"
    if mode in _NOT_MODELLED:
        raise UnsupportedError(f"{MODE_OPTION} {mode} is not modelled")
    if mode not in _MODES:
        raise InputError(
            "is no router", path=f"{MODE_OPTION} or ${MODE_VARIABLE}", value=mode,
            allowed=", ".join(_MODES),
        )  # fmt: skip
    return _MODES[mode]


def routing_of(args: Sequence[str], variables: Mapping[str, str]) -> RouterSettings:
    """The knobs of the KV router.

    Raises:
        InputError: one is no number that is 0 or more.
    """
    knobs: dict[str, float] = {}
    for name, variable, knob in _KNOBS:
        text = option(args, name) or variables.get(variable)
        if text:
            try:
                knobs[knob] = float(text)
            except ValueError as error:
                raise InputError(
                    "is no number", path=f"{name} or ${variable}", value=text
                ) from error
    return RouterSettings(
        temperature=knobs.get("temperature", 0.0),
        overlap_credit=knobs.get("overlap_credit", 1.0),
        prefill_load_scale=knobs.get("prefill_load_scale", 1.0),
    )


def migrations_of(args: Sequence[str], variables: Mapping[str, str]) -> int:
    """Workers that a request may lose and go on; 0, as in Dynamo, when nothing is said.

    Raises:
        InputError: it is no whole number that is 0 or more.
    """
    text = option(args, MIGRATION_OPTION) or variables.get(MIGRATION_VARIABLE) or "0"
    if not text.isdigit():
        raise InputError(
            "is no whole number", path=f"{MIGRATION_OPTION} or ${MIGRATION_VARIABLE}", value=text,
            allowed="0 or more",
        )  # fmt: skip
    return int(text)
