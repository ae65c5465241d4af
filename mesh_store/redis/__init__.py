"""Live state in Redis: quotas, and the connections they are kept over."""

from mesh_store.redis.client import connect, connect_async
from mesh_store.redis.limiter import AsyncLimiter, Limiter

__all__ = ["AsyncLimiter", "Limiter", "connect", "connect_async"]
