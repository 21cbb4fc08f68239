"""Archives of container images: read as `docker save` or OCI lay them out, written as OCI does.

References: the image layout, manifest and configuration of https://github.com/opencontainers/image-spec.
"""

import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.domain.errors import InvalidInputError
from deployments.kubernetes.layer import Layer, read_layer

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EPOCH = "1970-01-01T00:00:00Z"
REMEDY = "Give one that `docker save`, `podman save` or `skopeo copy ... oci-archive:FILE` made, not compressed."


@dataclass(frozen=True)
class Image:
    """A container image.

    Attributes:
        layers: From the lowest one.
        config: How its containers start: OCI's `config` (Env, User, Entrypoint, ...).
        architecture: As Go calls it.
    """

    layers: tuple[Layer, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its containers find."""
        return dict(entry.split("=", 1) for entry in self.config.get("Env") or ())


def read_archive(file: Path, architecture: str) -> Image:
    """The image in an archive.

    Args:
        file: A tar as `docker save` writes it, or one of an OCI layout.
        architecture: Which of several images is meant.

    Raises:
        InvalidInputError: It is not there, is no such archive, or has no image for the architecture.
    """
    try:
        with tarfile.open(file, "r:") as archive:
            return _Reader(file, archive, architecture).image()
    except FileNotFoundError as error:
        raise InvalidInputError(f"The base image {file}", "there is no such file", REMEDY) from error
    except (tarfile.TarError, KeyError, ValueError, OSError, EOFError) as error:
        raise InvalidInputError(f"The base image {file}", f"it is no archive of an image ({error})", REMEDY) from error


def write_archive(image: Image, name: str, file: Path) -> str:
    """Write an image as an OCI layout in a tar, without a date; its digest.

    Args:
        image: What is written.
        name: By which name programs that load it are to know it.
        file: Where it is written.
    """
    config = _json(_config(image))
    layers = [_descriptor(layer.media_type, layer.digest, layer.size) for layer in image.layers]
    manifest = _json({"schemaVersion": 2, "mediaType": MANIFEST, "config": _blob(CONFIG, config), "layers": layers})
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    entry = {**_blob(MANIFEST, manifest), "annotations": names}
    index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index)
        for blob in (manifest, config):
            _add(archive, _path(_digest(blob)), blob)
        _add_layers(archive, image.layers)
    return _digest(manifest)


class _Reader:
    def __init__(self, file: Path, archive: tarfile.TarFile, architecture: str) -> None:
        self._file, self._archive, self._architecture = file, archive, architecture
        self._members = {member.name.removeprefix("./"): member for member in archive}

    def image(self) -> Image:
        if "index.json" in self._members:
            return self._from_index(self._document("index.json"))
        manifest = self._document("manifest.json")[0]
        return self._made(self._document(manifest["Config"]), manifest["Layers"])

    def _from_index(self, index: Mapping[str, Any]) -> Image:
        chosen = self._chosen(index["manifests"])
        document = self._document(_path(chosen["digest"]))
        if "manifests" in document:
            return self._from_index(document)
        layers = [_path(layer["digest"]) for layer in document["layers"]]
        return self._made(self._document(_path(document["config"]["digest"])), layers)

    def _chosen(self, manifests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The manifest for the architecture; one that names none is for any."""
        for manifest in manifests:
            if manifest.get("platform", {}).get("architecture", self._architecture) == self._architecture:
                return manifest
        raise ValueError(f"it holds no image for {self._architecture}")

    def _made(self, config: Mapping[str, Any], names: Sequence[str]) -> Image:
        if config["architecture"] != self._architecture:
            raise ValueError(f"it is for {config['architecture']}, not for {self._architecture}")
        layers = tuple(self._layer(name) for name in names)
        if [layer.diff_id for layer in layers] != config["rootfs"]["diff_ids"]:
            raise ValueError("its layers are not what its configuration says")
        return Image(layers, config.get("config") or {}, self._architecture)

    def _layer(self, name: str) -> Layer:
        member = self._members[name]
        if member.issym():  # older Dockers keep a layer that comes twice only once
            member = self._members[posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))]
        return read_layer(self._file, member.offset_data, member.size)

    def _document(self, name: str) -> Any:
        source = self._archive.extractfile(self._members[name])
        return json.load(source) if source else None


def _config(image: Image) -> dict[str, Any]:
    return {
        "architecture": image.architecture,
        "os": "linux",
        "created": EPOCH,
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]},
    }


def _add_layers(archive: tarfile.TarFile, layers: Iterable[Layer]) -> None:
    for layer in {layer.digest: layer for layer in layers}.values():
        entry = tarfile.TarInfo(_path(layer.digest))
        entry.size = layer.size
        with layer.file.open("rb") as source:
            source.seek(layer.offset)
            archive.addfile(entry, source)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _blob(media_type: str, data: bytes) -> dict[str, Any]:
    return _descriptor(media_type, _digest(data), len(data))


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
