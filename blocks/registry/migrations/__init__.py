"""The schema's history, for Alembic: `env.py` connects it, each module of `versions` is one step.

A new step: change `tables.py`, add a module with the next number, and set `schema.HEAD`.
"""
