"""asgi_jwt side by side with its peers: `python -m benchmarks verify`, `middleware` or `server`."""
