"""The API over HTTP: an ASGI application."""
