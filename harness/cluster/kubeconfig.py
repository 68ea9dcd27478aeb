"""The file that tells clients where the server is and who they are."""

from __future__ import annotations

import yaml

NAME = "harness"


def kubeconfig_text(url: str, token: str, *, namespace: str = "default") -> str:
    """A kubeconfig with one cluster, one user and one context."""
    user = {"token": token} if token else {}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": {"server": url}}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [
            {"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}
        ],
    }
    return yaml.safe_dump(content, sort_keys=False)
