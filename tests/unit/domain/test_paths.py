import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import MAX_KEY_BYTES, Scheme, StoragePath, check_relative_key

pytestmark = pytest.mark.req("COM-05")

segments = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=20
).filter(lambda segment: segment not in (".", ".."))
keys = st.lists(segments, max_size=5).map("/".join)
hosts = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?(:[1-9][0-9]{1,3})?", fullmatch=True)
buckets = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True)
nas_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", fullmatch=True)
paths = st.one_of(
    st.builds(StoragePath, st.just(Scheme.OBS), hosts, buckets, keys),
    st.builds(StoragePath, st.just(Scheme.S3), st.just(""), buckets, keys),
    st.builds(StoragePath, st.just(Scheme.NAS), nas_ids, st.just(""), keys),
    st.builds(StoragePath, st.just(Scheme.FILE), st.just(""), st.just(""), keys),
)


@given(paths)
def test_a_path_that_is_printed_and_parsed_is_the_same_path(path):
    assert StoragePath.parse(str(path)) == path


@given(paths, keys.filter(bool))
def test_joining_goes_below_and_prints_as_it_reads(path, relative):
    joined = path / relative
    assert StoragePath.parse(str(joined)) == joined
    assert joined.key.endswith(relative)
    assert joined.store == path.store


@given(st.text())
@example("s3://bucket/../etc")
@example("nas://id:/a\0b")
@example("file:////etc/passwd")
def test_any_text_is_parsed_or_refused_and_what_is_parsed_prints_a_path_that_parses(text):
    try:
        path = StoragePath.parse(text)
    except InvalidInputError:
        return
    assert StoragePath.parse(str(path)) == path


@given(st.text(st.sampled_from("./\\a \0\n~%é")))
@example("..")
@example("a/../../b")
@example("/etc/passwd")
@example("a//b")
def test_whatever_a_key_is_it_is_staged_inside_the_directory_or_refused(key):
    directory = Path("/stage/inputs")
    try:
        target = directory / check_relative_key(key)
    except InvalidInputError:
        return
    assert target.is_relative_to(directory)
    assert target != directory
    assert ".." not in target.parts
    assert str(PurePosixPath(*target.parts[len(directory.parts) :])) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a/../b", "'..'"),
        ("a/./b", "'.'"),
        ("a//b", "''"),
        ("/a", "''"),
        ("a/", "''"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("a\ud800b", "lone surrogate"),
        ("a\\b", "backslash"),
        ("x" * 256, "255 bytes"),
        ("é" * 128, "255 bytes"),
        ("/".join(["x" * 128] * 8), "1024 bytes"),
        ("", "empty"),
    ],
)
def test_a_key_that_could_not_be_staged_is_refused_with_its_rule(key, why):
    with pytest.raises(InvalidInputError, match=why):
        check_relative_key(key)


@pytest.mark.parametrize(
    "key", ["%2e%2e/%00", "データ/訓練.csv", " leading and trailing ", "a:b", "C:", "...", "~", "x" * 255]
)
def test_what_only_looks_dangerous_is_taken_literally(key):
    assert StoragePath.parse(f"s3://bucket/{key}").key == key


def test_a_key_of_1024_bytes_is_the_longest():
    key = "/".join(["x" * 127] * 8)
    assert len(key) == MAX_KEY_BYTES - 1
    assert StoragePath.parse(f"s3://bucket/{key}x").key == f"{key}x"
    with pytest.raises(InvalidInputError, match="longer than 1024 bytes"):
        StoragePath.parse(f"s3://bucket/{key}xx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data/train",
        "/data/train",
        "http://host/bucket/key",
        "S3://bucket/key",
        "s3:/bucket/key",
        "s3://",
        "s3:///key",
        "s3://bu cket/key",
        "obs://bucket",
        "obs:///bucket/key",
        "obs://host:port/bucket/key",
        "obs://user@host/bucket/key",
        "nas://id/path",
        "nas://:/path",
        "file://data",
        "file://host/data",
        "C:\\data",
    ],
)
def test_a_path_of_the_wrong_form_is_refused_and_the_forms_are_named(text):
    with pytest.raises(InvalidInputError, match=re.escape("obs://{endpoint}/{container}/{path}")):
        StoragePath.parse(text)


def test_a_trailing_slash_names_the_same_directory():
    assert StoragePath.parse("s3://bucket/data/") == StoragePath.parse("s3://bucket/data")
    assert StoragePath.parse("nas://nas1:/") == StoragePath(Scheme.NAS, "nas1", "", "")
    assert str(StoragePath.parse("file:///")) == "file:///"


def test_each_form_is_read_for_its_parts():
    obs = StoragePath.parse("obs://store.example.com:8443/container/a/b.csv")
    assert (obs.authority, obs.bucket, obs.key) == ("store.example.com:8443", "container", "a/b.csv")
    assert (obs.name, obs.store, obs.is_object_store) == ("b.csv", "obs://store.example.com:8443/container", True)
    nas = StoragePath.parse("nas://nas-1:/data")
    assert (nas.authority, nas.key, nas.is_object_store) == ("nas-1", "data", False)
    assert StoragePath.parse("s3://bucket").name == "bucket"


@pytest.mark.parametrize("relative", ["", "..", "../x", "/x", "x/", "a//b"])
def test_joining_never_leaves_the_path(relative):
    with pytest.raises(InvalidInputError):
        StoragePath.parse("s3://bucket/data") / relative
