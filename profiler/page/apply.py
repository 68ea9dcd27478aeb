"""Creates a chosen deployment on a cluster."""

from __future__ import annotations

from typing import Any, Protocol

import yaml

from contracts.errors import InputError
from dgdr.operator.api import ApiError


class Creator(Protocol):
    """The one call that is needed of a Kubernetes client."""

    def create(self, data: dict[str, Any]) -> dict[str, Any]:
        """Create an object.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        ...


def apply_documents(creator: Creator, text: str, namespace: str) -> str:
    """Create the documents of a deployment in their order, and say what was created.

    ConfigMaps carry a hash of their content in the name, so one that exists is the same one.
    A deployment that exists is left alone.

    Raises:
        InputError: a deployment with this name is there already.
        ApiError: the API refused, or did not answer.
    """
    created = []
    for document in yaml.safe_load_all(text):
        metadata = {**document["metadata"], "namespace": namespace}
        data = {**document, "metadata": metadata}
        name = f"{data['kind']} {namespace}/{metadata['name']}"
        try:
            creator.create(data)
        except ApiError as error:
            if not error.exists:
                raise
            if data["kind"] != "ConfigMap":
                raise InputError(
                    "exists already; delete it first, or download this one and change its name",
                    path="metadata.name",
                    value=name,
                ) from error
            continue
        created.append(name)
    return f"Created {', '.join(created)}."
