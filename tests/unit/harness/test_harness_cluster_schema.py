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


# The verdicts of these were seen at an apiextensions-apiserver of v0.36.2.
TEXTS = {"type": "string"}
THING = {
    "type": "object",
    "properties": {"l": {"type": "array", "items": {"type": "integer"}}, "t": TEXTS},
}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("self.l.isSorted()", True),
        ("self.l.sum() == 6", True),
        ("self.l.min() == 1 && self.l.max() == 3", True),
        ("self.l.indexOf(2) == 1 && self.l.lastIndexOf(9) == -1", True),
        ("self.t.find('[0-9]+') == '12'", True),
        ("self.t.findAll('[0-9]+').size() == 2", True),
        ("self.t.findAll('[0-9]+', 1) == ['12']", True),
        ("self.t.indexOf('12') == 2 && self.t.lastIndexOf('4') == 7", True),
        ("self.t.lowerAscii() == 'ab12cd34' && self.t.upperAscii() == 'AB12CD34'", True),
        ("isQuantity('10Gi') && isQuantity('1.5Gi') && isQuantity('1e3')", True),
        ("isQuantity('1.5xx') || isQuantity(self.t)", False),
        ("isURL('https://h/p') && isURL('/path')", True),
        ("isURL('a b') || isURL('no-scheme')", False),
        ("isIP('1.2.3.4') && isIP('::1') && isCIDR('1.2.3.0/24')", True),
        ("isIP('1.2.3') || isCIDR('1.2.3.0')", False),
    ],
)
def test_functions_that_kubernetes_adds_to_rules(rule: str, holds: bool) -> None:
    schema = {**THING, "x-kubernetes-validations": [{"rule": rule, "message": "broken"}]}
    found = rule_problems({"l": [1, 2, 3], "t": "Ab12cd34"}, schema)
    assert [problem.message for problem in found] == ([] if holds else ["Invalid value: broken"])


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("quantity('1Gi').isGreaterThan(quantity('1000Mi'))", True),
        ("quantity('1000m') == quantity('1') && quantity('1') != quantity('2')", True),
        ("quantity('50k').add(20).sub(quantity('20')).asInteger() == 50000", True),
        ("quantity('-3').sign() == -1 && quantity('1.5').compareTo(quantity('2')) == -1", True),
        ("quantity('1.5').isInteger()", False),
        ("quantity('1.5').asApproximateFloat() == 1.5", True),
        ("url('https://u@h:80/p?a=1&a=2').getHost() == 'h:80'", True),
        ("url('https://h:80/p').getHostname() == 'h' && url('https://h/p').getPort() == ''", True),
        ("url('https://h/p%20q?a=1&a=2').getQuery()['a'] == ['1', '2']", True),
        ("url('https://h/p%20q').getEscapedPath() == '/p%20q'", True),
        ("url('/p').getScheme() == ''", True),
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6", True),
        ("ip('10.0.0.1').isLoopback() || ip('10.0.0.1').isUnspecified()", False),
        ("ip('224.0.0.9').isLinkLocalMulticast() && ip('fe80::1').isLinkLocalUnicast()", True),
        ("cidr('10.1.2.3/8').containsIP('10.9.9.9') && cidr('::/0').prefixLength() == 0", True),
        ("cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))", False),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", False),
        ("cidr('10.1.2.3/8').ip() == ip('10.1.2.3')", True),
        ("cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", True),
    ],
)
def test_types_that_kubernetes_adds_to_rules(rule: str, holds: bool) -> None:
    schema = {**THING, "x-kubernetes-validations": [{"rule": rule, "message": "broken"}]}
    found = rule_problems({}, schema)
    assert [problem.message for problem in found] == ([] if holds else ["Invalid value: broken"])


@pytest.mark.parametrize(
    "rule",
    [
        "quantity('1.5xx').isInteger()",
        "url('a b').getHost() == ''",
        "ip('1.2.3') == ip('1.2.3')",
        "cidr('1.2.3.0').prefixLength() == 24",
        "quantity('1.5').asInteger() == 1",
    ],
)
def test_texts_that_are_no_such_value_fail_the_rule(rule: str) -> None:
    (problem,) = rule_problems({}, {**THING, "x-kubernetes-validations": [{"rule": rule}]})
    assert "rule evaluation failed" in problem.message


def test_an_empty_list_has_no_extremes() -> None:
    rules = [{"rule": "self.l.min() == 1"}, {"rule": "self.l.max() == 1"}]
    least, most = rule_problems({"l": []}, {**THING, "x-kubernetes-validations": rules})
    assert "rule evaluation failed" in least.message
    assert "max called on empty list" in most.message


def test_a_rule_gives_the_words_of_its_reason() -> None:
    rule = {"rule": "has(self.t)", "message": "give it", "reason": "FieldValueRequired"}
    (problem,) = rule_problems({}, {**THING, "x-kubernetes-validations": [rule]})
    assert (problem.reason, problem.message) == ("FieldValueRequired", "Required value: give it")


def test_nulls_that_are_not_allowed_are_dropped() -> None:
    value: dict[str, Any] = {"t": None, "l": [None], "free": None}
    apply_defaults(value, THING)
    assert value == {"l": [None], "free": None}


def test_an_enumeration_is_checked_whatever_the_type() -> None:
    found = validate(3, {"type": "string", "enum": ["a"]}, "f")
    assert [problem.reason for problem in found] == [
        "FieldValueTypeInvalid",
        "FieldValueNotSupported",
    ]


def test_integers_have_a_width_and_items_of_list_maps_are_objects() -> None:
    (problem,) = validate(2**31, {"type": "integer", "format": "int32"}, "f")
    assert (problem.field, problem.reason) == ("<nil>", "FieldValueInvalid")
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    (problem,) = validate([1], {"type": "array", **keys}, "f")
    assert problem.message == "Invalid value: 1: must be an object for an array of list-type map"


def test_an_empty_text_is_too_short_and_nothing_more() -> None:
    (problem,) = validate("", {"type": "string", "minLength": 1, "pattern": "^a"}, "f")
    assert "at least 1 chars" in problem.message


def test_fields_below_a_list_where_none_belongs_are_unknown() -> None:
    assert prune({"t": [{"a": 1}]}, {"properties": {"t": TEXTS}}) == ["t[0].a"]
