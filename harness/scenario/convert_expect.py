"""``expect`` from the file format to frozen values, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from contracts.errors import InputError
from harness.scenario import schema
from harness.scenario.condition import COVERAGE_FIGURES, Condition, parse_condition
from harness.scenario.expect_sections import ExpectSection, LimitsSection, WindowSection
from harness.scenario.expectations import (
    ErrorKind,
    Expectations,
    ExpectedError,
    When,
    WindowExpectation,
)


def expect_problems(parsed: schema.ScenarioFile) -> Iterator[InputError]:
    """What the schema alone cannot see."""
    expect = parsed.expect
    asked = [value for value in expect.model_dump().values() if value is not None and value != []]
    if not asked:
        names = ", ".join(type(expect).model_fields)
        yield InputError("needs at least one expectation", path="expect", allowed=names)
    if expect.error is not None and len(asked) > 1:
        yield InputError("a run that is refused has nothing else to expect", path="expect.error")
    if expect.recovery_s_max is not None and not parsed.faults:
        yield InputError(
            "there is no fault to recover from",
            path="expect.recovery_s_max",
            value=f"{expect.recovery_s_max:g}",
        )
    for index, window in enumerate(expect.windows):
        yield from _window_problems(window, f"expect.windows[{index}]", bool(parsed.faults))
    for name in ("sometimes", "never"):
        for index, text in enumerate(getattr(expect, name)):
            try:
                _condition(text, f"expect.{name}[{index}]")
            except InputError as error:
                yield error


def _window_problems(window: WindowSection, path: str, has_faults: bool) -> Iterator[InputError]:
    limits = [getattr(window, name) for name in LimitsSection.model_fields]
    if all(limit is None for limit in limits):
        allowed = ", ".join(LimitsSection.model_fields)
        yield InputError("needs at least one expectation", path=path, allowed=allowed)
    if window.when != "always" and not has_faults:
        yield InputError(
            "there is no fault to count from",
            path=f"{path}.when",
            value=window.when,
            allowed="always",
        )
    if window.within_s and window.when != "after":
        yield InputError(
            "only counts after a fault", path=f"{path}.within_s", value=f"{window.within_s:g}"
        )
    if window.to_s is not None and window.to_s <= (window.from_s or 0.0):
        yield InputError("must lie after from_s", path=f"{path}.to_s", value=f"{window.to_s:g}")


def to_expectations(section: ExpectSection) -> Expectations:
    """The frozen expectations of a section without problems."""
    values = section.model_dump(exclude={"windows", "sometimes", "never", "error"})
    error = section.error
    return Expectations(
        **values,
        windows=tuple(_window(window) for window in section.windows),
        sometimes=tuple(_condition(text, "expect.sometimes") for text in section.sometimes),
        never=tuple(_condition(text, "expect.never") for text in section.never),
        error=None
        if error is None
        else ExpectedError(kind=ErrorKind(error.kind), contains=error.contains),
    )


def _window(section: WindowSection) -> WindowExpectation:
    values = section.model_dump(exclude={"when"})
    return WindowExpectation(when=When(section.when), **values)


def _condition(text: str, path: str) -> Condition:
    return parse_condition(text, path=path, known=COVERAGE_FIGURES)
