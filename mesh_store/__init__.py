"""What is true and where it is kept: values and rules, Postgres, Redis, telemetry, embedded engines.

Nothing is exported from here: import from the sub-package whose room it is (``mesh_store.model``,
``mesh_store.redis``, …). ``mesh_store`` never imports ``mesh_plugins``.
"""
