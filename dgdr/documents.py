"""Plain data to YAML text, the same for the same data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml


def dump_documents(docs: Sequence[Mapping[str, object]]) -> str:
    """YAML text of several documents, keys in the given order, no anchors."""
    return yaml.dump_all(
        docs, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=4096, allow_unicode=True
    )


class _Dumper(yaml.SafeDumper):
    """Writes shared values out in full and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
