"""The demo's S3 server: a real one, with its objects in memory, that ends with the demo.

`python -m deployments.demo_store HOST` fills a bucket, prints the server's URL, or in one line why there is none, and
serves until its standard input ends: that is when the demo is over, however it ended.
"""

import gzip
import http.client
import logging
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from blocks.domain.errors import StorageUnavailableError

BUCKET = "makerflow-demo"
HELD_OUT = 360
"""Images of digits that no training sees; the other 1,437 are trained on."""

ACCOUNT = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_REGION": "us-east-1"}
"""The server takes any."""


@contextmanager
def demo_store(host: str) -> Iterator[subprocess.Popen[str]]:
    """The server in a process of its own, listening at this address; `store_environment` waits for it."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demo, which may still have to stop a training
    ) as process:
        try:
            yield process
        finally:
            process.communicate()


def store_environment(process: "subprocess.Popen[str]") -> Mapping[str, str]:
    """Wait until the server is ready; the variables by which it is found.

    Raises:
        StorageUnavailableError: It did not start; it says why.
    """
    address = process.stdout.readline().strip() if process.stdout else ""
    if not address.startswith("http://"):
        raise StorageUnavailableError("the demo", address or "its S3 server ended before it was ready")
    return ACCOUNT | {"AWS_ENDPOINT_URL": address}


def objects() -> dict[str, bytes]:
    """What is put into the bucket: the digits, split, and the own code."""
    lines = _digits()
    random.Random(0).shuffle(lines)  # noqa: S311 - the same split each time
    code = Path(str(files("deployments").joinpath("demo_code")))
    return {
        "digits/train/digits.csv": _csv(lines[HELD_OUT:]),
        "digits/test/digits.csv": _csv(lines[:HELD_OUT]),
        **{f"code/{file.name}": file.read_bytes() for file in sorted(code.iterdir()) if file.is_file()},
    }


def _digits() -> list[bytes]:
    """A line for each image, its label last: the file of `sklearn.datasets.load_digits`.

    It is read without importing scikit-learn, which would take longer than all else here.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("scikit-learn is not installed (`make demo` installs what it needs)")
    file = Path(package.origin).with_name("datasets") / "data" / "digits.csv.gz"
    return gzip.decompress(file.read_bytes()).splitlines()


def _csv(lines: Sequence[bytes]) -> bytes:
    header = ",".join([*(f"pixel_{row}_{column}" for row in range(8) for column in range(8)), "digit"])
    return b"\n".join([header.encode(), *lines, b""])


def _put(address: tuple[str, int], path: str, body: bytes = b"") -> None:
    """A plain request: this server asks for no signature, and boto3 would cost another second."""
    connection = http.client.HTTPConnection(*address)
    connection.request("PUT", f"/{BUCKET}{path}", body)
    answer = connection.getresponse()
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"the demo's S3 server answers {answer.status} to {path}: {answer.read()!r}")
    connection.close()


def main() -> int:
    """Serve; the exit code."""
    try:
        address = _start(sys.argv[1])
    except (ImportError, OSError, http.client.HTTPException) as error:
        print(" ".join(str(error).split()), flush=True)
        return 1
    print(f"http://{address[0]}:{address[1]}", flush=True)
    sys.stdin.read()
    return 0


def _start(host: str) -> tuple[str, int]:
    """Serve in the background, the bucket filled; at this address."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(host, 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = (host, server.server_port)
    _put(address, "")
    for key, body in objects().items():
        _put(address, f"/{key}", body)
    return address


if __name__ == "__main__":
    sys.exit(main())
