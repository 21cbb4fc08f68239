"""What the front door costs: requests a second to a tiny server, directly and through it, side by side.

Rounds alternate, so that what else the machine does weighs on all ways alike.

Run it: `python -m tests.benchmarks.bench_front_door [--short]`.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.gateway.files import write_routes
from blocks.gateway.routes import Access, Route
from tests.doubles.front_door import free_port, running_front_door, started
from tests.waiting import wait_until

CLIENTS = 8
UPSTREAM = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="two rounds of one second")
    rounds, seconds = (2, 1.0) if parser.parse_args().short else (5, 4.0)
    with tempfile.TemporaryDirectory(prefix="mf-bench-") as name, _upstream(Path(name)) as port:
        directory = Path(name) / "up"
        directory.mkdir()
        with running_front_door(directory, upstream=None) as door:
            write_routes(door.front_door, [Route(name="tiny", prefix="/tiny", port=port, access=Access.ACCOUNT)])
            with door.client() as client:
                wait_until(lambda: client.get("/tiny").text == "ok")
            ways = {"directly": port, "through the front door, asked who it is": door.front_door.port}
            found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, at in ways.items():
                    found[way].append(asyncio.run(_load(at, seconds)))
    for way, figures in found.items():
        rate, median, late = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{way:42} {rate:7.0f} requests/s, median {median * 1e3:.2f} ms, 99 % below {late * 1e3:.2f} ms")


@contextmanager
def _upstream(directory: Path) -> Iterator[int]:
    (directory / "tiny.py").write_text(UPSTREAM)
    port = free_port()
    uvicorn = ["-m", "uvicorn", "--app-dir", str(directory), "--port", str(port), "--log-level", "error", "tiny:app"]
    with started([sys.executable, *uvicorn]):
        wait_until(lambda: _is_there(port))
        yield port


def _is_there(port: int) -> bool:
    try:
        asyncio.run(_load(port, 0))
    except OSError:
        return False
    return True


async def _load(port: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, and the median and 99th percentile of their seconds, of several clients at once."""
    times: list[float] = []
    began = time.monotonic()
    await asyncio.gather(*(_ask(port, began + seconds, times) for _ in range(CLIENTS)))
    took = time.monotonic() - began
    times.sort()
    return len(times) / took, times[len(times) // 2], times[len(times) * 99 // 100]


async def _ask(port: int, until: float, times: list[float]) -> None:
    """Ask again and again on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /tiny HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    while not times or time.monotonic() < until:
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(2)
        times.append(time.monotonic() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            raise OSError(f"refused: {head.decode()}")
    writer.close()


if __name__ == "__main__":
    main()
