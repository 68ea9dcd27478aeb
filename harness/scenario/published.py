"""The file format as a JSON Schema, for editors and other tools."""

from __future__ import annotations

import json
from typing import Any

from harness.scenario.expand import AXES
from harness.scenario.schema import FrameSection, ScenarioFile

SCHEMA_FILE = "scenario.schema.json"
# Sections that a file may leave incomplete because an included file completes them.
_PARTIAL = (
    "DeploySection",
    "SyntheticSection",
    "SessionsSection",
    "ClosedLoopSection",
    "TraceSection",
    "PoissonSection",
    "GammaSection",
    "ConstantSection",
    "BurstSection",
    "DiurnalSection",
    "LengthsSection",
)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a scenario file.

    It knows shape, types, ranges and defaults. What spans several keys is left to
    ``harness validate``; so is what a section lacks, because an included file may have it.
    """
    schema = ScenarioFile.model_json_schema(by_alias=True)
    frame = FrameSection.model_json_schema()
    frame["properties"]["matrix"]["description"] = (
        f"Values for a dotted path or one of {', '.join(AXES)}."
    )
    for name in _PARTIAL:
        schema["$defs"].get(name, {}).pop("required", None)
    complete = schema.pop("required")
    schema["properties"] |= frame["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Scenario of the rehearsal harness, version 1",
        "if": {"not": {"required": ["include"]}},
        "then": {"required": complete},
    }


def schema_text() -> str:
    """The published file."""
    return json.dumps(json_schema(), indent=1) + "\n"
