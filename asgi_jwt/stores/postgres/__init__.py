"""Sessions and revocations in PostgreSQL."""

from asgi_jwt.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
