"""`makerflow catalogue ...`: what can be chosen from."""

from typing import TYPE_CHECKING

from deployments.cli.loading import command_group
from deployments.cli.output import AsJson, write, write_document, write_table

if TYPE_CHECKING:
    from blocks.domain.algorithms import ProvidedAlgorithmEntry
    from blocks.domain.catalogues import Catalogue

app = command_group("Images, flavors and provided algorithms to choose from.")


@app.command("images")
def images(*, as_json: AsJson = False) -> None:
    """List the images: the packages that an entry point finds."""
    found = _catalogue().images
    if as_json:
        write_document({"items": [image.model_dump(mode="json") for image in found]})
        return
    rows = [
        [i.name, i.core_type.value, i.framework.value, i.framework_version, i.python_version, i.container]
        for i in found
    ]
    write_table(("NAME", "CORE", "FRAMEWORK", "VERSION", "PYTHON", "CONTAINER"), rows, empty="There are no images.")


@app.command("flavors")
def flavors(*, as_json: AsJson = False) -> None:
    """List the instance types: what each worker gets."""
    found = _catalogue().flavors
    if as_json:
        write_document({"items": [flavor.model_dump(mode="json") for flavor in found]})
        return
    rows = [[f.name, f.core_type.value, f"{f.vcpus:g}", f"{f.memory_mib / 1024:g} GiB", str(f.gpus)] for f in found]
    write_table(("NAME", "CORE", "VCPUS", "MEMORY", "GPUS"), rows, empty="There are no flavors.")


@app.command("algorithms")
def algorithms(*, as_json: AsJson = False) -> None:
    """List the provided algorithms with their hyperparameters and metrics."""
    found = _catalogue().algorithms
    if as_json:
        write_document({"items": [algorithm.model_dump(mode="json") for algorithm in found]})
        return
    for algorithm in found:
        _write_algorithm(algorithm)


def _write_algorithm(algorithm: "ProvidedAlgorithmEntry") -> None:
    write(f"{algorithm.name}: {algorithm.title}\n{algorithm.description}")
    write(f"image {algorithm.image}, at most {algorithm.max_workers} workers\n")
    datasets = [[d.name, "required" if d.required else "", d.description] for d in algorithm.datasets]
    write_table(("DATASET", "", "HOLDS"), datasets, empty="It reads no dataset.")
    write("")
    parameters = [
        [p.name, p.type.value, "required" if p.required else p.default, p.allowed, p.description]
        for p in algorithm.hyperparameters
    ]
    write_table(("HYPERPARAMETER", "TYPE", "DEFAULT", "ALLOWED", "MEANING"), parameters, empty="It takes none.")
    write("")
    write_table(("METRIC", "MEANING"), [[m.name, m.description] for m in algorithm.metrics], empty="It reports none.")


def _catalogue() -> "Catalogue":
    from blocks.connections.platform import open_platform

    return open_platform().catalogue
