"""The file that tells clients where the server is and who they are."""

from __future__ import annotations

import base64

import yaml

NAME = "harness"


def kubeconfig_text(
    url: str, token: str, *, namespace: str = "default", authority: str = ""
) -> str:
    """A kubeconfig with one cluster, one user and one context.

    Args:
        url: of the server.
        token: of the user; empty for none.
        namespace: of the context.
        authority: certificate in PEM that the server is checked against.
    """
    cluster = {"server": url}
    if authority:
        cluster["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    user = {"token": token} if token else {}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [
            {"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": namespace}}
        ],
    }
    return yaml.safe_dump(content, sort_keys=False)
