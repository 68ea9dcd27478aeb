"""The HTTP surface: a raw ASGI path for tokens, FastAPI for everything else."""

from mocker.api.app import AppOptions, build_app
from mocker.api.exposition import Exposition, exposition_of

__all__ = ["AppOptions", "Exposition", "build_app", "exposition_of"]
