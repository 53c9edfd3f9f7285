"""What the commands of `asgi-jwt` do, a file each; `cli` reads their arguments."""
