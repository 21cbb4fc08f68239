"""One retryable step each. Prefect gets its private home before anything here imports it."""

from blocks.connections.settings import prepare_prefect

prepare_prefect()
