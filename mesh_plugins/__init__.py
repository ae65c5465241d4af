"""Governance for LLM calls, inside the calling process."""
