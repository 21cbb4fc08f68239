"""`python -m deployments.prefect_yaml > prefect.yaml`: the catalogue for those who deploy by `prefect deploy --all`."""

from typing import Any

import yaml

from deployments.catalogue import CatalogueEntry, catalogue, product_version
from tasks.triggering import DEPLOYMENT

HEAD = """\
# Made by `python -m deployments.prefect_yaml`; a test holds it to the catalogue of deployments.
#
# `makerflow up` registers all of this by itself. Where a Prefect server and its workers run already:
#     prefect work-pool create makerflow --type process
#     prefect deploy --all
#     python -m deployments.finish_forms
#     prefect worker start --pool makerflow
# The third gives the forms their titles and menus. A worker needs the package makerflow in its environment, and this
# installation's MAKERFLOW_* settings.
"""


def prefect_yaml() -> str:
    """The file's text."""
    document = {
        "name": DEPLOYMENT,
        "pull": [],  # the flows come with the installed package
        "deployments": [_entry(entry) for entry in catalogue()],
    }
    return HEAD + yaml.safe_dump(document, sort_keys=False, width=120)


def _entry(entry: CatalogueEntry) -> dict[str, Any]:
    every = {"schedules": [{"interval": int(entry.every.total_seconds())}]} if entry.every else {}
    return {
        "name": DEPLOYMENT,
        "description": entry.description,
        "version": product_version(),
        "tags": entry.tags,
        "entrypoint": entry.entrypoint,
        "work_pool": {"name": DEPLOYMENT},
        **every,
    }


if __name__ == "__main__":
    print(prefect_yaml(), end="")
