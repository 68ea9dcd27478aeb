"""CustomResourceDefinitions, generated from the types."""

from dgdr.crds.manifests import crd_files, render_crd

__all__ = ["crd_files", "render_crd"]
