"""Where the cluster is: what is said of a configuration that cannot be used."""

from pathlib import Path

import pytest
import yaml

from blocks.cluster.kubernetes.api import Api
from blocks.domain.errors import InvalidInputError

CONFIGURATION = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://cluster.example"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ours"}}],
    "current-context": "x",
    "users": [{"name": "u", "user": {}}],
}
OF_A_MISSING_FILE = {"server": "https://cluster.example", "certificate-authority": "/gone.pem"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "expected the node content"),
        ("[]", "it is no kubeconfig"),
        ("just words", "it is no kubeconfig"),
        ("contexts: 5\nclusters: 5", "it is no kubeconfig"),
        (yaml.safe_dump(CONFIGURATION | {"current-context": "y"}), "y"),
        (yaml.safe_dump(CONFIGURATION | {"clusters": [{"name": "c", "cluster": OF_A_MISSING_FILE}]}), "gone.pem"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named_with_what_is_wrong(tmp_path, content, said):
    file = Path(tmp_path, "config")
    file.write_text(content)
    with pytest.raises(InvalidInputError, match=f"{file}: it cannot be used: .*{said}"):
        Api(files=str(file))


def test_where_there_is_no_configuration_it_is_said_how_to_name_one(tmp_path):
    with pytest.raises(InvalidInputError, match=r"no cluster is configured here .* Set KUBECONFIG"):
        Api(files=f"{tmp_path}/nowhere")


def test_the_files_that_are_named_are_used_and_not_those_of_the_process(tmp_path, monkeypatch):
    Path(tmp_path, "config").write_text(yaml.safe_dump(CONFIGURATION))
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    api = Api(files=f"{tmp_path}/nowhere:{tmp_path}/config")
    assert (api.host, api.namespace) == ("https://cluster.example", "ours")
    assert Api("another", f"{tmp_path}/config").namespace == "another"
