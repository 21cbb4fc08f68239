"""What is typed on the command line becomes the fields of a spec."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath
from deployments.cli import fields
from deployments.cli.storage import places


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("2h", 7200), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), (" 1H 30M ", 5400)],
)
def test_a_duration_is_read_in_its_units(text: str, seconds: float) -> None:
    assert fields.seconds("--max-time", text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "5x", "-3s", "1h30", "٣s", "1e3s", "nan", "1:30"])
def test_what_is_no_duration_is_refused_with_the_option_and_examples(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"--max-time .*90s, 30m, 2h, 1h30m"):
        fields.seconds("--max-time", text)


@given(st.floats(min_value=0, max_value=1e9))
def test_every_duration_can_be_shown(seconds: float) -> None:
    assert fields.duration_text(seconds)


def test_a_pair_is_cut_at_its_first_equals_sign() -> None:
    assert fields.pairs("--hp", ["a=b=c", "empty="]) == [{"name": "a", "value": "b=c"}, {"name": "empty", "value": ""}]


@pytest.mark.parametrize("text", ["lr", "=1", " =1", ""])
def test_a_pair_without_a_name_or_an_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"--hp .*NAME=VALUE"):
        fields.pairs("--hp", [text])


def test_a_name_given_twice_is_refused_where_only_one_can_stand() -> None:
    with pytest.raises(InvalidInputError, match="twice"):
        fields.mapping("--tag", ["a=1", "a=2"])


def test_a_path_of_this_machine_becomes_an_absolute_file_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))

    assert fields.storage_path("--output", "./a/../b/") == f"file://{tmp_path}/b"
    assert fields.storage_path("--output", "c") == f"file://{tmp_path}/c"
    assert fields.storage_path("--output", "/data/train") == "file:///data/train"
    assert fields.storage_path("--output", "~/x") == f"file://{tmp_path}/me/x"
    assert fields.storage_path("--output", "d", Path("/elsewhere")) == "file:///elsewhere/d"


@pytest.mark.parametrize("text", ["s3://bucket/x", "obs://host:1/c/p", "nas://nas1:/p", "file:///x", "gs://b/x"])
def test_a_path_of_a_store_stays_as_it_is(text: str) -> None:
    assert fields.storage_path("--output", text) == text


@pytest.mark.parametrize("text", ["", "s3:/bucket", "file:/x", "nas:x"])
def test_a_slip_of_the_pen_in_a_stores_path_is_not_taken_for_a_folder(text: str) -> None:
    with pytest.raises(InvalidInputError, match="it is no path"):
        fields.storage_path("--output", text)


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=40))
def test_every_plain_name_becomes_a_path_that_can_be_parsed(name: str) -> None:
    assert StoragePath.parse(fields.storage_path("--output", f"/data/{name}")).name == name


@pytest.mark.parametrize("word", ["FAIL TRAIN", "fail-train", "Fail_Train"])
def test_a_status_may_be_typed_without_quotes(word: str) -> None:
    assert fields.status_word(word, ["COMPLETE", "FAIL TRAIN"]) == "FAIL TRAIN"


def test_an_unknown_status_is_refused_with_those_that_exist() -> None:
    with pytest.raises(InvalidInputError, match="One of: COMPLETE, FAIL TRAIN"):
        fields.status_word("DONE", ["COMPLETE", "FAIL TRAIN"])


@pytest.mark.parametrize(
    ("location", "option"),
    [
        (("instances", "workers"), "--workers"),
        (("algorithm",), "--algorithm"),
        (("algorithm", "path"), "--algorithm"),
        (("algorithm", "hyperparameters", 0, "name"), "--hp (0.name)"),
        (("outputs", "checkpoint"), "--checkpoint-output"),
        (("limits", "max_minutes"), "--max-time"),
        (("tags",), "--tag"),
        (("surprise",), "surprise"),
    ],
)
def test_a_refused_field_is_named_by_what_set_it(location: tuple[int | str, ...], option: str) -> None:
    assert fields.option_of(location) == option


def test_copies_go_to_the_target_itself_or_into_it_when_it_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()

    def targets(*texts: str) -> list[str]:
        return [str(target) for _, target in places(list(texts))]

    assert targets("/a/x", "s3://b/y") == ["s3://b/y"]
    assert targets("/a/x", "s3://b/y/") == ["s3://b/y/x"]
    assert targets("/a/x", "/a/z", "s3://b/y") == ["s3://b/y/x", "s3://b/y/z"]
    assert targets("s3://b/x", str(tmp_path / "there")) == [f"file://{tmp_path}/there/x"]
    with pytest.raises(InvalidInputError, match="no target"):
        places(["/a"])
