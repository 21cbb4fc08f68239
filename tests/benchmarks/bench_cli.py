"""How long the commands take that a person waits for: targets are 0.4 s for help and 1 s for a list.

Run it: `python -m tests.benchmarks.bench_cli [--short]`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "help": ["--help"],
    "help of train": ["train", "--help"],
    "training list": ["training", "list"],
    "training list --json": ["training", "list", "--json"],
    "training show (none there)": ["training", "show", "nobody"],
    "catalogue flavors": ["catalogue", "flavors"],
    "doctor": ["doctor"],
    "refused settings": ["train", "--algorithm", "./code", "--entry-point", "train.py", "--workers", "65"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one round")
    rounds = 1 if parser.parse_args().short else 9
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as home:
        environment = {**os.environ, "MAKERFLOW_HOME": home}
        _time(["training", "list"], environment)  # makes the registry
        for title, arguments in COMMANDS.items():
            times = [_time(arguments, environment) for _ in range(rounds)]
            print(f"makerflow {title:28} {statistics.median(times):.2f} s (best {min(times):.2f} s)")


def _time(arguments: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "deployments.cli", *arguments], env=environment, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
