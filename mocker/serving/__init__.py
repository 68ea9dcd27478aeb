"""HTTP servers for an ASGI application: our own, or granian."""
