"""What the platform adds to each trial of a tuning, beside a bare Optuna loop that starts the same subprocess.

Ray Tune runs the same work in the same run where it is installed (`pip install "ray[tune]"`).

Run it: `python -m tests.benchmarks.bench_tuning [--short | --many]`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

PARALLEL = 2
PRINTS = "import os\nprint('loss=%s' % (float(os.environ['EM_HP_X']) ** 2))\n"
SLEEPS = "import time\ntime.sleep(1)\n" + PRINTS
TARGET_SECONDS = 0.150
TARGET_RATIO = 1.15
FLAT = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few trials, no Ray")
    parser.add_argument("--many", action="store_true", help="5,000 trials: cost at the end beside the start, memory")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="makerflow-bench-") as directory:
        os.environ["MAKERFLOW_HOME"] = str(Path(directory) / "home")
        os.environ.pop("MAKERFLOW_PREFECT_API_URL", None)
        if asked.many:
            many(Path(directory), 5_000)
            return
        overhead(Path(directory), "print", PRINTS, 6 if asked.short else 200, with_ray=not asked.short)
        overhead(Path(directory), "second", SLEEPS, 4 if asked.short else 40, with_ray=False)
        if asked.short:
            many(Path(directory), 20)


def overhead(directory: Path, name: str, source: str, trials: int, *, with_ray: bool) -> None:
    code = directory / name
    code.mkdir()
    (code / "train.py").write_text(source)
    _tune(code, f"{name}-first", PARALLEL + 1)  # builds the environment, and has what is imported once imported
    bare, ours = _bare(code, trials), _tune(code, name, trials)
    print(
        f"{name}: {trials} trials, {PARALLEL} at once: ours {ours:.2f} s, bare Optuna loop {bare:.2f} s, ratio "
        f"{ours / bare:.2f}; per trial {1000 * (ours - bare) / trials:.0f} ms more"
        + (f" (target below {1000 * TARGET_SECONDS:.0f})" if name == "print" else f" (target: {TARGET_RATIO})")
    )
    if with_ray:
        _beside_ray(code, trials, ours)


def _tune(code: Path, name: str, trials: int) -> float:
    from flows.tuning import create_tuning

    began = time.monotonic()
    tuning = create_tuning(
        {
            "name": name,
            "algorithm": f"file://{code}",
            "entry_point": "train.py",
            "parameters": ["x=DOUBLE[-5,5]"],
            "objective_metric": "loss",
            "strategy": "RANDOM",
            "random_state": 1,
            "max_trainings": trials,
            "parallel_trainings": PARALLEL,
        }
    )
    if getattr(tuning, "completed", 0) != trials:
        raise SystemExit(f"{name} did not complete: {tuning}")
    return time.monotonic() - began


def _bare(code: Path, trials: int) -> float:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))

    def run(_: int) -> None:
        trial = study.ask()
        value = trial.suggest_float("x", -5, 5)
        environment = {**os.environ, "EM_HP_X": str(value)}
        command = [sys.executable, str(code / "train.py")]
        output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        study.tell(trial, float(output.strip().partition("=")[2]))

    began = time.monotonic()
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(run, range(trials)))
    return time.monotonic() - began


def _beside_ray(code: Path, trials: int, ours: float) -> None:
    if find_spec("ray") is None:
        print("Ray Tune is not installed, so that nothing was measured beside it")
        return
    theirs = _ray(code, trials)
    print(f"Ray Tune: {theirs:.2f} s for the same; ours {ours:.2f} s, ratio {ours / theirs:.2f} (target: below 1)")


def _ray(code: Path, trials: int) -> float:
    import ray
    from ray import tune

    script = str(code / "train.py")

    def run(config: dict[str, float]) -> None:
        environment = {**os.environ, "EM_HP_X": str(config["x"])}
        output = subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, text=True)
        tune.report({"loss": float(output.stdout.strip().partition("=")[2])})

    began = time.monotonic()
    ray.init(num_cpus=PARALLEL, include_dashboard=False, log_to_driver=False)
    settings = tune.TuneConfig(num_samples=trials, max_concurrent_trials=PARALLEL)
    tune.Tuner(run, param_space={"x": tune.uniform(-5, 5)}, tune_config=settings).fit()
    ray.shutdown()
    return time.monotonic() - began


def many(directory: Path, trials: int) -> None:
    """What a trial costs at the end beside the start, and the memory of the process."""
    from blocks.connections.platform import open_platform

    code = directory / "many"
    code.mkdir()
    (code / "train.py").write_text(PRINTS)
    _tune(code, "many-first", PARALLEL + 1)
    before = _memory_mib()
    _tune(code, "many", trials)
    rows = open_platform().registry.tunings.trials(open_platform().registry.tunings.get("many").id)
    ended = sorted(row.changed.timestamp() for row in rows)
    share = max(len(ended) // 10, 2)
    first = (ended[share - 1] - ended[0]) / (share - 1)
    last = (ended[-1] - ended[-share]) / (share - 1)
    print(
        f"{trials} trials: {1000 * first:.0f} ms each in the first tenth, {1000 * last:.0f} ms in the last, ratio "
        f"{last / first:.2f} (target: {FLAT}); peak memory {before:.0f} MiB before, {_memory_mib():.0f} MiB after"
    )


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
