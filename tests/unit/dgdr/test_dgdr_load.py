"""Texts that are no request: malformed, empty, repeated, of another kind, of a draft."""

from __future__ import annotations

import json
import logging

import pytest
import yaml

from contracts.errors import CombinedInputError, InputError
from dgdr import load_dgdr


def _error(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_dgdr(text, source="file.yaml")
    assert caught.value.source == "file.yaml"
    return caught.value


@pytest.mark.parametrize("text", ["", "  \n", "# a comment\n", "---\n", "null", "---\n---\n"])
def test_an_empty_file(text):
    assert str(_error(text)) == (
        "file.yaml: is empty (got nothing); allowed: one DynamoGraphDeploymentRequest"
    )


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        ("a: [1\nb: 2", "line 2, column 2", '"b: 2"'),
        ("a: 1\n  b: 2", "line 2, column 4", '"b: 2"'),
        ('{"a": 1', "line 1, column 8", None),
        ("a: *nothing", "line 1, column 4", '"a: *nothing"'),
        ("? [a]\n: 1", "line 1, column 3", '"? [a]"'),
        ("a: !!python/object:x.y {}", "line 1, column 4", None),
    ],
)
def test_malformed_text_names_line_and_column(text, where, value):
    error = _error(text)
    assert error.message.startswith("is neither YAML nor JSON: ")
    assert error.path == where
    if value is not None:
        assert error.value == value


def test_control_characters_are_refused():
    assert _error("a: \x00").message.startswith("is neither YAML nor JSON: ")


@pytest.mark.parametrize("text", ["[" * 2000, '{"a":' * 2000])
@pytest.mark.slow
def test_text_nested_without_end(text):
    assert _error(text).message == "is nested too deeply"


@pytest.mark.parametrize("text", ["a: 0x_", "a: " + "9" * 5000, '{"a": ' + "9" * 5000 + "}"])
def test_numbers_that_cannot_be_read(text):
    assert _error(text).message.startswith("holds a value that cannot be read: ")


@pytest.mark.parametrize(
    ("text", "value"), [("- 1", "[1]"), ("hello", '"hello"'), ("[1, 2]", "[1, 2]"), ("3", "3")]
)
def test_something_else_than_a_section(text, value):
    error = _error(text)
    assert error.message == "is not a request"
    assert error.value == value
    assert error.allowed == "a section of keys and values"


def test_several_documents(raw):
    text = yaml.safe_dump_all([raw(), raw(), raw()])
    error = _error(text)
    assert error.message == "holds several documents"
    assert error.value == "3 documents"
    assert error.allowed == "one document"


def test_a_key_given_twice_in_yaml(raw):
    text = yaml.safe_dump(raw()) + "  backend: sglang\n  sla:\n    ttft: 1\n    ttft: 2\n"
    error = _error(text)
    assert isinstance(error, CombinedInputError)
    assert [(e.path, e.value) for e in error.errors] == [
        ("spec.sla.ttft", "1, 2"),
        ("spec.backend", "vllm, sglang"),
    ]
    assert error.errors[1].message == "key 'backend' is given 2 times"
    assert error.errors[1].allowed == "each key once"


def test_sections_and_lists_given_twice_in_yaml():
    error = _error("a:\n- b: 1\n- b: {}\n  b: []\n")
    assert error.path == "a[1].b"
    assert error.value == "{...}, {...}"


def test_a_key_given_twice_in_json():
    error = _error('{"spec": {"a": [{"b": 1, "b": {"c": 2}, "b": 3}]}}')
    assert error.path == "spec.a[0].b"
    assert error.message == "key 'b' is given 3 times"
    assert error.value == "1, {...}, 3"


@pytest.mark.parametrize(
    ("text", "path"), [("a: &x [1, *x]", "a[1]"), ("a: &x {b: {c: *x}}", "a.b.c")]
)
def test_a_section_that_contains_itself(text, path):
    error = _error(text)
    assert error.message == "refers to itself"
    assert error.path == path


def _with(raw, **keys) -> str:
    return yaml.safe_dump({**raw(), **keys})


def test_another_kind(raw):
    error = _error(_with(raw, kind="DynamoGraphDeployment"))
    assert error.path == "kind"
    assert error.message == "unknown value; did you mean 'DynamoGraphDeploymentRequest'?"
    assert error.value == '"DynamoGraphDeployment"'
    assert error.allowed == "DynamoGraphDeploymentRequest"


def test_the_legacy_version_says_what_is_understood(raw):
    error = _error(_with(raw, apiVersion="nvidia.com/v1alpha1"))
    assert str(error) == (
        "file.yaml: apiVersion: v1alpha1 is not understood at present, v1beta1 is "
        '(got "nvidia.com/v1alpha1"); allowed: nvidia.com/v1beta1'
    )


@pytest.mark.parametrize("version", ["v1beta1", "nvidia.com/v1", 1, ["x"]])
def test_another_version(raw, version):
    error = _error(_with(raw, apiVersion=version))
    assert error.path == "apiVersion"
    assert error.message.startswith("unknown value")
    assert error.value == json.dumps(version)
    assert error.allowed == "nvidia.com/v1beta1"


def test_version_and_kind_missing():
    error = _error("spec: {model: x}")
    assert isinstance(error, CombinedInputError)
    assert [(e.path, e.message, e.value, e.allowed) for e in error.errors] == [
        ("apiVersion", "is required", "nothing", "nvidia.com/v1beta1"),
        ("kind", "is required", "nothing", "DynamoGraphDeploymentRequest"),
    ]


def _warnings(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "dgdr.load"]


@pytest.mark.parametrize(
    ("changes", "read", "expected", "warning"),
    [
        (
            {"spec.backend": "any"},
            lambda spec: spec.backend.value,
            "auto",
            "spec.backend: any is a draft spelling, read as spec.backend: auto",
        ),
        (
            {"spec.modelCache": {"pvcName": "w", "pvcPath": "a"}},
            lambda spec: spec.model_cache.pvc_model_path,
            "a",
            "spec.modelCache.pvcPath is a draft spelling, read as spec.modelCache.pvcModelPath",
        ),
        (
            {"spec.enableAutoScaling": True},
            lambda spec: spec.planner,
            {},
            "spec.enableAutoScaling is a draft spelling, read as spec.features.planner",
        ),
        (
            {"spec.enableAutoScaling": False, "spec.features": None},
            lambda spec: spec.planner,
            None,
            "spec.enableAutoScaling is a draft spelling, read as spec.features.planner",
        ),
    ],
)
def test_the_draft_dialect_is_read_with_a_warning(
    request_of, caplog, changes, read, expected, warning
):
    with caplog.at_level(logging.WARNING):
        spec = request_of(changes).spec
    assert read(spec) == expected
    assert _warnings(caplog) == [f"request.yaml: {warning}"]


def test_the_present_dialect_gives_no_warning(request_of, caplog):
    with caplog.at_level(logging.WARNING):
        request_of({"spec.modelCache": {"pvcName": "w", "pvcModelPath": "a"}})
    assert _warnings(caplog) == []


@pytest.mark.parametrize(
    ("changes", "path", "current", "value"),
    [
        (
            {"spec.modelCache": {"pvcName": "w", "pvcPath": "a", "pvcModelPath": "b"}},
            "spec.modelCache.pvcPath",
            "spec.modelCache.pvcModelPath",
            '"a"',
        ),
        (
            {"spec.enableAutoScaling": True, "spec.features.planner": {}},
            "spec.enableAutoScaling",
            "spec.features.planner",
            "true",
        ),
    ],
)
def test_draft_and_present_name_together(raw, changes, path, current, value):
    error = _error(yaml.safe_dump(raw(changes)))
    assert type(error) is InputError
    assert error.path == path
    assert error.message == f"is the draft name of {current}, which is given too"
    assert error.value == value
    assert error.allowed == f"{current} alone"


def test_auto_scaling_of_the_draft_is_true_or_false(raw):
    error = _error(yaml.safe_dump(raw({"spec.enableAutoScaling": "yes"})))
    assert error.path == "spec.enableAutoScaling"
    assert error.value == '"yes"'
    assert error.allowed == "true or false"


def test_wrong_sections_do_not_confuse_the_draft_dialect(raw):
    error = _error(yaml.safe_dump(raw({"spec.enableAutoScaling": True, "spec.features": 3})))
    assert error.path == "spec.features"
    assert error.message == "has the wrong type"
