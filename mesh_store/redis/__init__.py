"""Live state in Redis: quotas, and the connections they are kept over."""

from mesh_store.redis.budgets import AsyncBudgets, Budgets
from mesh_store.redis.client import connect, connect_async
from mesh_store.redis.limiter import AsyncLimiter, Limiter

__all__ = ["AsyncBudgets", "AsyncLimiter", "Budgets", "Limiter", "connect", "connect_async"]
