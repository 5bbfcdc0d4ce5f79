"""Terminal handlers: reverse proxy and tunnel."""
