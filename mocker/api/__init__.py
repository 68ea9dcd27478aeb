"""The HTTP surface: a raw ASGI path for tokens, FastAPI for everything else."""

from mocker.api.app import build_app

__all__ = ["build_app"]
