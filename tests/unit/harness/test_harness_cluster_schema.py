"""Pruning, defaults, validation, CEL."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cluster.schema import apply_defaults, check_rules, prune, rule_problems, validate


def test_pruning_names_what_it_drops() -> None:
    schema = {
        "properties": {
            "a": {"items": {"properties": {"x": {}}}},
            "free": {"x-kubernetes-preserve-unknown-fields": True, "type": "object"},
            "map": {"additionalProperties": {"properties": {"x": {}}}},
            "raw": {"x-kubernetes-embedded-resource": True, "properties": {"spec": {}}},
        }
    }
    value = {
        "a": [{"x": 1, "y": 2}],
        "free": {"anything": 1},
        "map": {"k": {"x": 1, "z": 1}},
        "raw": {"apiVersion": "v1", "kind": "A", "metadata": {}, "spec": 1, "bad": 1},
        "bogus": 1,
    }
    assert prune(value, schema) == ["a[0].y", "bogus", "map.k.z", "raw.bad"]
    assert value["a"] == [{"x": 1}]
    assert value["free"] == {"anything": 1}


def test_defaults_reach_inside_and_replace_null() -> None:
    schema = {
        "properties": {
            "a": {"default": {}, "properties": {"b": {"default": 1}}},
            "n": {"default": 2},
            "nullable": {"default": 3, "nullable": True},
            "list": {"items": {"properties": {"c": {"default": 4}}}},
        }
    }
    value: dict[str, Any] = {"n": None, "nullable": None, "list": [{}]}
    apply_defaults(value, schema)
    assert value == {"a": {"b": 1}, "n": 2, "nullable": None, "list": [{"c": 4}]}


@pytest.mark.parametrize(
    ("schema", "value", "reason", "message"),
    [
        (
            {"type": "string"},
            3,
            "FieldValueTypeInvalid",
            'Invalid value: "integer": f in body must be of type string: "integer"',
        ),
        (
            {"type": "integer", "maximum": 10},
            99,
            "FieldValueInvalid",
            "Invalid value: 99: f in body should be less than or equal to 10",
        ),
        (
            {"enum": ["a", "b"]},
            "x",
            "FieldValueNotSupported",
            'Unsupported value: "x": supported values: "a", "b"',
        ),
        (
            {"type": "array", "maxItems": 1},
            [1, 2],
            "FieldValueTooMany",
            "Too many: 2: must have at most 1 items",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set"},
            ["a", "a"],
            "FieldValueDuplicate",
            'Duplicate value: "a"',
        ),
        (
            {"type": "string", "pattern": "^a+$"},
            "b",
            "FieldValueInvalid",
            "Invalid value: \"b\": f in body should match '^a+$'",
        ),
        ({"type": "object", "required": ["x"]}, {}, "FieldValueRequired", "Required value"),
        (
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            0,
            "FieldValueInvalid",
            "Invalid value: 0: f in body should be greater than 0",
        ),
    ],
)
def test_problems_are_worded_as_the_api_words_them(
    schema: dict[str, Any], value: Any, reason: str, message: str
) -> None:
    found = validate(value, schema, "f")
    assert [(problem.reason, problem.message) for problem in found] == [(reason, message)]


def test_alternatives() -> None:
    schema = {"anyOf": [{"required": ["a"]}, {"required": ["b"]}], "type": "object"}
    assert validate({"a": 1}, schema, "f") == []
    assert "anyOf" in validate({}, schema, "f")[0].message
    one = {"oneOf": schema["anyOf"], "type": "object"}
    assert "Found 2 valid" in validate({"a": 1, "b": 1}, one, "f")[0].message
    assert validate("5", {"x-kubernetes-int-or-string": True}, "f") == []


RULED = {
    "properties": {
        "spec": {
            "properties": {"n": {"type": "number"}, "i": {"type": "integer"}, "a-b": {}},
            "x-kubernetes-validations": [
                {"rule": "self.i < self.n", "message": "i below n"},
                {"rule": "!has(oldSelf.i) || self.i >= oldSelf.i", "message": "i only grows"},
                {"rule": "!has(self.a__dash__b) || self.a__dash__b != 'x'", "message": "no x"},
            ],
        }
    }
}


def test_rules_compare_numbers_by_schema_type() -> None:
    assert rule_problems({"spec": {"n": 2, "i": 1}}, RULED) == []
    found = rule_problems({"spec": {"n": 1, "i": 2, "a-b": "x"}}, RULED)
    assert [(problem.field, problem.message) for problem in found] == [
        ("spec", "Invalid value: i below n"),
        ("spec", "Invalid value: no x"),
    ]


def test_transition_rules_need_a_stored_value() -> None:
    new = {"spec": {"n": 9, "i": 1}}
    found = rule_problems(new, RULED, old={"spec": {"n": 9, "i": 5}})
    assert [problem.message for problem in found] == ["Invalid value: i only grows"]


def test_a_rule_that_cannot_be_evaluated_fails() -> None:
    found = rule_problems({"spec": {"n": 1}}, RULED)
    assert "rule evaluation failed" in found[0].message


def test_rules_that_do_not_parse_are_found() -> None:
    schema = {"properties": {"a": {"x-kubernetes-validations": [{"rule": "self +"}]}}}
    assert "compilation failed" in check_rules(schema, "schema")[0].message
