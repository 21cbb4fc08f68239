"""The demo's S3 server: a real one, on loopback, with its objects in memory, that ends with the demo.

`python -m deployments.demo_store` fills a bucket, prints the server's URL, and serves until its standard input ends:
that is when the demo is over, however it ended.
"""

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BUCKET = "makerflow-demo"
HELD_OUT = 360
"""Images of digits that no training sees; the other 1,437 are trained on."""

ACCOUNT = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_REGION": "us-east-1"}
"""The server takes any."""


@contextmanager
def demo_store() -> Iterator[subprocess.Popen[str]]:
    """The server in a process of its own; `store_address` waits for it."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
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
        RuntimeError: It did not start.
    """
    address = process.stdout.readline().strip() if process.stdout else ""
    if not address:
        raise RuntimeError("The demo's S3 server did not start; what it says is above.")
    return ACCOUNT | {"AWS_ENDPOINT_URL": address}


def objects() -> dict[str, bytes]:
    """What is put into the bucket: the digits, split, and the own code."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    table = np.column_stack([digits.data, digits.target]).astype(int)
    order = np.random.default_rng(0).permutation(len(table))
    header = ",".join([*digits.feature_names, "digit"])
    code = Path(str(files("deployments").joinpath("demo_code")))
    return {
        "digits/train/digits.csv": _csv(header, table[order[HELD_OUT:]]),
        "digits/test/digits.csv": _csv(header, table[order[:HELD_OUT]]),
        **{f"code/{file.name}": file.read_bytes() for file in sorted(code.iterdir()) if file.is_file()},
    }


def _csv(header: str, rows: "npt.NDArray[np.int_]") -> bytes:
    import numpy as np

    buffer = io.StringIO()
    np.savetxt(buffer, rows, fmt="%d", delimiter=",", header=header, comments="")
    return buffer.getvalue().encode()


def main() -> None:
    """Serve."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=ACCOUNT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ACCOUNT["AWS_SECRET_ACCESS_KEY"],
        region_name=ACCOUNT["AWS_REGION"],
    )
    client.create_bucket(Bucket=BUCKET)
    for key, body in objects().items():
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
    print(address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
