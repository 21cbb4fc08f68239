"""What surrounds trainings on the command line: settings files, provided algorithms, stores, catalogue, doctor."""

import sys
from pathlib import Path

import pytest

from tests.e2e.command_line import CommandLine
from tests.servers import S3Server

ROWS = "\n".join(["width,height,kind", *(f"{n},{n % 7},{'wide' if n > 30 else 'narrow'}" for n in range(60))])


@pytest.fixture(scope="module")
def platform(cli: CommandLine, s3_server: S3Server) -> CommandLine:
    """A home whose images are this interpreter, on a machine where the AWS command line would work."""
    cli.home.mkdir()
    names = ("python", "scikit-learn")
    images = "\n".join(f"- {{name: {name}, python_path: {sys.executable}}}" for name in names)
    (cli.home / "catalogue.yaml").write_text(f"images:\n{images}\n")
    return CommandLine(cli.directory, s3_server.environment)


@pytest.mark.req("TRN-20")
def test_a_provided_algorithm_is_trained_from_a_settings_file_with_one_setting_changed(platform: CommandLine) -> None:
    (platform.directory / "rows").mkdir()
    (platform.directory / "rows" / "train.csv").write_text(ROWS)
    (platform.directory / "spec.yaml").write_text(
        "provided: tabular\nname: rows\nhyperparameters: {target: kind, iterations: 50}\n"
        "datasets: {train: ./rows}\nmax-time: 2m\ndescription: from a file\n"
    )

    trained = platform.json("train", "-f", "spec.yaml", "--hp", "iterations=3", "--name", "rows-2")

    assert trained["status"] == "COMPLETE"
    assert trained["name"] == "rows-2"
    assert trained["description"] == "from a file"
    assert trained["hyperparameters"] == {"target": "kind", "iterations": "3"}
    assert trained["spec"]["limits"]["max_minutes"] == 2
    assert trained["metrics"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--workers", "0"], "--workers"),
        (["--workers", "many"], "--workers"),
        (["--max-time", "5"], "--max-time"),
        (["--max-time", "0s"], "--max-time"),
        (["--storage-gb", "2041"], "--storage-gb"),
        (["--hp", "lr"], "--hp"),
        (["--tag", "=x"], "--tag"),
        (["--dataset", "/data"], "--dataset"),
        (["--dataset", "d=s3:/x"], "--dataset"),
        (["--output", "ftp://x/y"], "--output"),
        (["--checkpoint-input", "nas://x"], "--checkpoint-input"),
        (["--name", "a b"], "--name"),
        (["--experiment", ""], "--experiment"),
        (["--provided", "alchemy"], "--provided"),
        (["--metric", "(["], "metric"),
        (["--image", "windows"], "image"),
        (["--unheard-of"], "--unheard-of"),
        ([part for n in range(11) for part in ("--tag", f"t{n}=x")], "--tag"),
        ([part for n in range(101) for part in ("--hp", f"h{n}=x")], "--hp"),
    ],
)
def test_a_bad_option_is_refused_by_its_name_before_anything_is_made(
    platform: CommandLine, options: list[str], named: str
) -> None:
    ended = platform.run("train", "--algorithm", ".", "--entry-point", "train.py", *options, "--json")

    assert ended.code == 2
    assert named in ended.document["reason"]
    assert "Traceback" not in ended.err
    assert platform.json("training", "list", "--name", "default-*")["items"] == []


def test_data_is_listed_and_copied_between_this_machine_and_a_bucket(
    platform: CommandLine, s3_server: S3Server
) -> None:
    bucket = s3_server.make_bucket()
    (platform.directory / "tree" / "deep").mkdir(parents=True)
    (platform.directory / "tree" / "a.txt").write_text("a")
    (platform.directory / "tree" / "deep" / "b.txt").write_text("bb")

    copied = platform.json("storage", "cp", "-r", "./tree", f"s3://{bucket}/tree")
    listed = platform.json("storage", "ls", "-r", f"s3://{bucket}/tree")["items"]
    folders = platform.run("storage", "ls", f"s3://{bucket}/tree").out
    back = platform.json("storage", "cp", f"s3://{bucket}/tree/deep/b.txt", "./b.txt")
    again = platform.run("storage", "cp", f"s3://{bucket}/tree/deep/b.txt", "./b.txt")

    assert (copied["files"], copied["bytes"]) == (2, 3)
    assert [(item["key"], item["size"]) for item in listed] == [("a.txt", 1), ("deep/b.txt", 2)]
    assert "deep/" in folders
    assert back["files"] == 1
    assert (platform.directory / "b.txt").read_text() == "bb"
    assert again.code == 2
    assert "--overwrite" in again.err
    assert platform.run("storage", "ls", f"s3://{bucket}/nothing").code == 1


def test_a_path_that_is_not_there_fails_the_creation_with_its_name(platform: CommandLine) -> None:
    training = ("train", "--name", "no-bucket", "--algorithm", "s3://no-such-bucket/code", "--entry-point", "train.py")
    failed = platform.json(*training, code=1)

    assert failed["status"] == "CREATE FAILED"
    assert "no-such-bucket" in failed["reason"]


def test_an_endpoint_that_is_no_url_fails_the_creation_with_the_name_of_its_variable(platform: CommandLine) -> None:
    bogus = CommandLine(platform.directory, {**platform.environment, "AWS_ENDPOINT_URL": "bogus"})
    training = ("train", "--name", "no-url", "--algorithm", "s3://bucket/code", "--entry-point", "train.py")
    failed = bogus.json(*training, code=1)

    assert failed["status"] == "CREATE FAILED"
    assert "AWS_ENDPOINT_URL" in failed["reason"]


@pytest.mark.req("COM-07", "TRN-02")
def test_the_catalogue_shows_what_can_be_chosen(platform: CommandLine) -> None:
    algorithms = platform.json("catalogue", "algorithms")["items"]

    assert "c1m2" in [flavor["name"] for flavor in platform.json("catalogue", "flavors")["items"]]
    assert "python" in platform.run("catalogue", "images").out
    assert {"name", "type", "default"} <= algorithms[0]["hyperparameters"][0].keys()
    assert "target" in platform.run("catalogue", "algorithms").out


def test_a_connection_is_never_made_without_its_secret(platform: CommandLine) -> None:
    refused = platform.run("connection", "set", "localhost:9", "--access-key-id", "not AWS_ACCESS_KEY_ID's account")

    assert refused.code == 2
    assert "stdin" in refused.err
    assert platform.json("connection", "list")["items"] == []
    assert "No such option" in platform.run("connection", "set", "localhost:9", "--secret-access-key", "x").err


def test_the_doctor_finds_nothing_wrong_in_a_good_home_and_names_what_is(platform: CommandLine, tmp_path: Path) -> None:
    well = platform.json("doctor", "--deep")
    unwell = CommandLine(platform.directory, {"MAKERFLOW_NAS": f'{{"nas1": "{tmp_path}/absent"}}'})
    found = unwell.json("doctor", code=1)

    assert well["status"] == "OK"
    looked_at = {finding["check"] for finding in well["findings"]}
    assert looked_at >= {"versions", "database", "disk", "limits", "cache", "leftovers"}
    assert found["status"] == "PROBLEMS"
    assert any("MAKERFLOW_NAS" in finding["remedy"] for finding in found["findings"])


def test_a_wrong_setting_of_the_environment_is_named(platform: CommandLine) -> None:
    ended = CommandLine(platform.directory, {"MAKERFLOW_CPUS": "many"}).run("training", "list")

    assert ended.code == 2
    assert "MAKERFLOW_CPUS" in ended.err


def test_the_doctor_tells_once_that_a_setting_is_wrong(platform: CommandLine) -> None:
    found = CommandLine(platform.directory, {"MAKERFLOW_CLUSTER": "k8s"}).json("doctor", code=1)

    [wrong] = [finding for finding in found["findings"] if finding["level"] == "problem"]
    assert wrong["check"] == "configuration"
    assert "MAKERFLOW_CLUSTER" in wrong["message"]
