"""The commands of `asgi-jwt`, a file each. `cli` parses their arguments."""
