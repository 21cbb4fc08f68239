"""The image without a container engine: the same files make the same bytes, and a base is kept as it is."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.errors import InvalidInputError
from deployments.kubernetes import image, machine
from deployments.kubernetes.archive import Image, read_archive, write_archive
from deployments.kubernetes.environment import environment_contents, is_product
from deployments.kubernetes.layer import GZIP, PLAIN, Content, Layer, content_of, names_in, tree, write_layer


def members(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer.file) as archive:
        return {member.name: member for member in archive}


def plain(directory: Path, **files: str) -> Layer:
    contents = {path: Content(data=text.encode()) for path, text in files.items()}
    return write_layer(contents, directory / f"{'-'.join(files)}.tar")


def docker_archive(file: Path, config: dict[str, Any], *layers: bytes) -> Path:
    """What `docker save` wrote before it knew OCI."""
    names = [f"{hashlib.sha256(layer).hexdigest()}/layer.tar" for layer in layers]
    documents = {"config.json": config, "manifest.json": [{"Config": "config.json", "Layers": names}]}
    blobs = dict(zip(names, layers, strict=True)) | {k: json.dumps(v).encode() for k, v in documents.items()}
    with tarfile.open(file, "w") as archive:
        for name, blob in blobs.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(blob)
            archive.addfile(entry, io.BytesIO(blob))
    return file


def config_of(*layers: Layer, architecture: str = "amd64") -> dict[str, Any]:
    ids = [layer.diff_id for layer in layers]
    return {"architecture": architecture, "config": {"Env": ["A=b=c"]}, "rootfs": {"type": "layers", "diff_ids": ids}}


def test_the_same_files_make_the_same_layer_whenever_and_in_whatever_order_they_were_made(tmp_path: Path) -> None:
    digests = []
    for number, names in enumerate((["b", "a"], ["a", "b"])):
        directory = tmp_path / str(number)
        (directory / "sub").mkdir(parents=True)
        for name in names:
            (directory / "sub" / name).write_text(name)
            (directory / "sub" / name).chmod(0o600 if number else 0o644)
        digests.append(write_layer(tree(directory, "opt/x"), tmp_path / f"{number}.tar").digest)
    assert digests[0] == digests[1]


def test_a_layer_has_the_directories_above_its_files_and_belongs_to_root(tmp_path: Path) -> None:
    contents = {"opt/x/run": Content(data=b"#!", mode=0o755), "opt/x/link": Content(link="run")}
    found = members(write_layer(contents, tmp_path / "layer.tar"))
    assert list(found) == ["opt", "opt/x", "opt/x/link", "opt/x/run"]
    assert {(entry.uid, entry.gid, entry.mtime) for entry in found.values()} == {(0, 0, 0)}
    assert (found["opt"].isdir(), found["opt"].mode, found["opt/x/run"].mode) == (True, 0o755, 0o755)
    assert (found["opt/x/link"].issym(), found["opt/x/link"].linkname) == (True, "run")


def test_a_file_that_only_its_owner_may_read_can_be_read_by_the_user_of_the_image(tmp_path: Path) -> None:
    for name, mode in (("private", 0o600), ("program", 0o700)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    assert [content_of(tmp_path / name).mode for name in ("private", "program")] == [0o644, 0o755]


def test_a_tree_keeps_links_to_directories_and_leaves_out_what_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a").write_text("")
    (tmp_path / "lib64").symlink_to("lib")
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "b").write_text("")
    found = tree(tmp_path, "opt", without=("include",))
    assert {path: content.link for path, content in found.items()} == {"opt/lib/a": "", "opt/lib64": "lib"}


def test_an_archive_is_read_as_it_was_written(tmp_path: Path) -> None:
    layers = (plain(tmp_path, a="1"), plain(tmp_path, b="2"))
    written = Image(layers, {"Env": ["PATH=/bin"], "User": "1000"})
    digest = write_archive(written, "registry.example.com/x:1", tmp_path / "x.tar")
    read = read_archive(tmp_path / "x.tar", "amd64")
    assert [layer.digest for layer in read.layers] == [layer.digest for layer in layers]
    assert (read.config, read.environment) == (written.config, {"PATH": "/bin"})
    assert [names_in(layer) for layer in read.layers] == [{"a"}, {"b"}]
    again = write_archive(read, "registry.example.com/x:1", tmp_path / "y.tar")
    assert again == digest
    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_a_packed_layer_of_an_older_archive_stays_packed(tmp_path: Path) -> None:
    layer = plain(tmp_path, a="1")
    packed = gzip.compress(layer.file.read_bytes(), mtime=0)
    file = docker_archive(tmp_path / "old.tar", config_of(layer), packed)
    (read,) = read_archive(file, "amd64").layers
    assert (read.media_type, layer.media_type) == (GZIP, PLAIN)
    assert read.diff_id == layer.diff_id
    assert read.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert names_in(read) == {"a"}


def test_of_an_image_for_several_architectures_the_right_one_is_taken(tmp_path: Path) -> None:
    write_archive(Image((plain(tmp_path, a="1"),), {}, "arm64"), "x:1", tmp_path / "arm.tar")
    with pytest.raises(InvalidInputError, match="it is for arm64, not for amd64"):
        read_archive(tmp_path / "arm.tar", "amd64")


@pytest.mark.parametrize("content", [None, b"", b"no tar at all", b"\x1f\x8b packed"])
def test_what_is_no_archive_is_refused_with_what_to_give(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InvalidInputError, match="skopeo copy"):
        read_archive(tmp_path / "x.tar", "amd64")


def test_an_archive_whose_layer_was_damaged_is_refused(tmp_path: Path) -> None:
    layer, other = plain(tmp_path, a="1"), plain(tmp_path, b="1")
    file = docker_archive(tmp_path / "bad.tar", config_of(other), layer.file.read_bytes())
    with pytest.raises(InvalidInputError, match="not what its configuration says"):
        read_archive(file, "amd64")


@pytest.mark.parametrize(
    ("name", "why"),
    [("usr/bin/python2.7", "it has no /usr/local/bin/python"), ("lib/ld-musl-x86_64.so.1", "it has musl")],
)
def test_a_base_that_cannot_run_what_is_installed_is_refused(
    name: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = write_layer({name: Content(data=b"")}, tmp_path / "layer.tar")
    monkeypatch.setattr(image, "_architecture", lambda: "amd64")
    write_archive(Image((layer,)), "x:1", tmp_path / "base.tar")
    output = tmp_path / "out.tar"
    code = image.main(["--base", str(tmp_path / "base.tar"), "--name", "y:1", "--output", str(output)])
    assert (code, output.exists()) == (1, False)
    assert why in capsys.readouterr().err


def test_what_is_no_checkout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.main(["--name", "y:1", "--source", str(tmp_path), "--output", str(tmp_path / "o.tar")]) == 1
    assert "Run this in a checkout" in capsys.readouterr().err


def test_an_environment_names_its_place_in_the_image_and_not_where_it_was_made(tmp_path: Path) -> None:
    made = tmp_path / "environment"
    site = f"lib/python{machine.VERSION}/site-packages"
    package = made / site / "makerflow-0.1.0.dist-info"
    package.mkdir(parents=True)
    (made / "bin").mkdir()
    (made / "bin" / "makerflow").write_text(f"#!{made}/bin/python\nmain()\n")
    (made / "bin" / "python").symlink_to("/some/where/python3")
    (package / "direct_url.json").write_text(f"file://{tmp_path}")
    (package / "RECORD").write_text(
        "../../../bin/makerflow,sha256=x,3\nblocks/a.py,sha256=y,4\nmakerflow-0.1.0.dist-info/direct_url.json,sha256=z,5\n"
    )
    contents = environment_contents(made, "/usr/local/bin/python3.11")
    layer = write_layer(contents, tmp_path / "layer.tar")
    with tarfile.open(layer.file) as archive:
        texts = {m.name: archive.extractfile(m).read().decode() for m in archive if m.isfile()}  # type: ignore[union-attr]
    assert not any(str(tmp_path) in text for text in texts.values())
    assert texts["opt/makerflow/bin/makerflow"] == "#!/opt/makerflow/bin/python\nmain()\n"
    assert contents["opt/makerflow/bin/python"].link == "/usr/local/bin/python3.11"
    assert "home = /usr/local/bin\n" in texts["opt/makerflow/pyvenv.cfg"]
    record = texts[f"opt/makerflow/{site}/{package.name}/RECORD"]
    assert record == "../../../bin/makerflow,,\nblocks/a.py,sha256=y,4\n"


def test_the_product_is_told_from_what_it_needs() -> None:
    site = f"opt/makerflow/lib/python{machine.VERSION}/site-packages"
    own = ("blocks/files.py", "deployments/cli/__init__.py", "makerflow-0.1.0.dist-info/RECORD")
    others = ("prefect/tasks/a.py", "blocks_of_others/a.py", "makerflower/a.py")
    assert all(is_product(f"{site}/{path}") for path in own)
    assert not any(is_product(f"{site}/{path}") for path in others)
    assert not is_product("opt/makerflow/bin/makerflow")
