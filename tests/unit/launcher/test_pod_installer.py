"""What the installer of a pod says when pip cannot have what is asked for."""

import pytest

from blocks.launcher.pod_installer import explanation

LOOKING = "Looking in indexes: https://me:***@packages.example/simple, https://pypi.org/simple"
RETRYING = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by '{}': /simple/six/"
)
REFUSED = RETRYING.format(
    "NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f03cd3c0390>: Failed to "
    "establish a new connection: [Errno 111] Connection refused')"
)
SLOW = RETRYING.format(
    "ConnectTimeoutError(<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f03cd3c0390>, 'Connection to "
    "pypi.org timed out. (connect timeout=15)')"
)
MISSING = [
    "ERROR: Could not find a version that satisfies the requirement six==1.16.0 (from versions: none)",
    "ERROR: No matching distribution found for six==1.16.0",
]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            [LOOKING, REFUSED, *MISSING],
            "No matching distribution found for six==1.16.0; pip asked https://me:***@packages.example/simple, "
            "https://pypi.org/simple and got no answer: NewConnectionError('Failed to establish a new connection: "
            "[Errno 111] Connection refused')",
        ),
        (
            [SLOW, *MISSING],
            "No matching distribution found for six==1.16.0; pip asked https://pypi.org/simple and got no answer: "
            "ConnectTimeoutError('Connection to pypi.org timed out. (connect timeout=15)')",
        ),
        (
            [LOOKING, *MISSING],
            "No matching distribution found for six==1.16.0; pip asked https://me:***@packages.example/simple, "
            "https://pypi.org/simple",
        ),
        (MISSING, ""),
        ([LOOKING, "ERROR: Failed building wheel for gadget"], ""),
        (["/usr/bin/python3: No module named pip"], ""),
    ],
    ids=["refused", "slow", "answered", "index not told", "not built", "no pip"],
)
def test_it_says_which_index_was_asked_and_whether_it_answered(said, sentence):
    assert explanation(said) == sentence
