"""ConversionReview: what an API server asks a conversion webhook."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from contracts.errors import InputError, RehearsalError, UnsupportedError
from dgdr.convert.graphs import (
    adapter_to_v1alpha1,
    adapter_to_v1beta1,
    graph_to_v1alpha1,
    graph_to_v1beta1,
)
from dgdr.convert.plain import Json, section
from dgdr.convert.requests import request_to_v1alpha1, request_to_v1beta1
from dgdr.graph import ADAPTER_KIND, GRAPH_KIND
from dgdr.request import API_GROUP, KIND

_OLD, _NEW = f"{API_GROUP}/v1alpha1", f"{API_GROUP}/v1beta1"
_CONVERTERS: Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Json]] = {
    (KIND, _NEW): request_to_v1beta1,
    (KIND, _OLD): request_to_v1alpha1,
    (GRAPH_KIND, _NEW): graph_to_v1beta1,
    (GRAPH_KIND, _OLD): graph_to_v1alpha1,
    (ADAPTER_KIND, _NEW): adapter_to_v1beta1,
    (ADAPTER_KIND, _OLD): adapter_to_v1alpha1,
}


def convert_object(data: Mapping[str, Any], api_version: str) -> Json:
    """An object in another version of its resource.

    Raises:
        UnsupportedError: the kind or version is not one of ours.
        InputError: the object contradicts itself.
    """
    if data.get("apiVersion") == api_version:
        return dict(data)
    kind = str(data.get("kind"))
    converter = _CONVERTERS.get((kind, api_version))
    if converter is None or data.get("apiVersion") not in (_OLD, _NEW):
        raise UnsupportedError(
            f"cannot convert {kind} from {data.get('apiVersion')} to {api_version}"
        )
    return converter(data)


def convert_review(review: Mapping[str, Any]) -> Json:
    """Answer a ConversionReview ``apiextensions.k8s.io/v1``; all objects or none.

    Raises:
        InputError: this is not a ConversionReview.
    """
    request = section(review, "request")
    if review.get("kind") != "ConversionReview" or "uid" not in request:
        raise InputError("is not a ConversionReview", path="kind", value=str(review.get("kind")))
    response: Json = {"uid": request["uid"]}
    wanted = str(request.get("desiredAPIVersion"))
    try:
        converted = [convert_object(item, wanted) for item in request.get("objects") or []]
        response |= {"convertedObjects": converted, "result": {"status": "Success"}}
    except RehearsalError as error:
        response |= {"result": {"status": "Failure", "message": str(error)}}
    return {
        "apiVersion": review.get("apiVersion"),
        "kind": "ConversionReview",
        "response": response,
    }
