"""Sessions and revocations in Redis or Valkey."""

from asgi_jwt.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
