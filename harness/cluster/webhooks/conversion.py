"""Asks the conversion webhook that a CustomResourceDefinition names."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from harness.cluster.objects.errors import ApiError
from harness.cluster.objects.meta import Obj, meta
from harness.cluster.objects.outside import Question, answer
from harness.cluster.webhooks.post import Caller, Place, post

LIMIT_S = 5.0
_REVIEW = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionWebhooks:
    """Converts objects by webhooks."""

    caller: Caller

    def convert(self, webhook: Obj, obj: Obj, api_version: str) -> Obj:
        """An object in another version of its resource.

        Args:
            webhook: ``spec.conversion.webhook`` of the definition.
            obj: stays as it is; of its metadata only labels and annotations may change.
            api_version: the wanted one.

        Raises:
            AnswersMissing: the webhook must be asked first.
            ApiError: 500, the webhook cannot be reached or refuses.
        """
        config = webhook.get("clientConfig") or {}
        try:
            place = self.caller.place(config)
        except (OSError, ValueError, KeyError) as error:
            raise _failed(obj, api_version, str(error)) from error
        key = json.dumps([config, api_version, obj], sort_keys=True)
        found: Obj = answer(Question(key=key, ask=lambda: _converted(place, obj, api_version)))
        return found


def _converted(place: Place, obj: Obj, api_version: str) -> Obj:
    request = {"uid": "1", "desiredAPIVersion": api_version, "objects": [obj]}
    try:
        response = post(place, {**_REVIEW, "request": request}, LIMIT_S)["response"]
        result = response.get("result") or {}
        if result.get("status") != "Success":
            raise _failed(obj, api_version, str(result.get("message")))
        (found,) = response["convertedObjects"]
        changed: Obj = {**found, "apiVersion": api_version, "metadata": {**meta(obj)}}
        for key in ("labels", "annotations"):
            changed["metadata"].pop(key, None)
            if found["metadata"].get(key):
                changed["metadata"][key] = found["metadata"][key]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise _failed(obj, api_version, str(error) or type(error).__name__) from error
    return changed


def _failed(obj: Obj, api_version: str, why: str) -> ApiError:
    text = (
        f"conversion webhook for {obj.get('apiVersion')}, Kind={obj.get('kind')} to "
        f"{api_version} failed: {why}"
    )
    return ApiError(500, "InternalError", text)
