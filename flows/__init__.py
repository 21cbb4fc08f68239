"""The order of the steps of each action. Prefect gets its private home before anything here imports it."""

from blocks.connections.settings import prepare_prefect

prepare_prefect()
