"""SQLiteStore: sessions and revocations in one SQLite file."""

from asgi_jwt.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
