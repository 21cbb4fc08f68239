"""Own code for the platform: a small neural network on digits, in data parallel.

Every worker computes gradients on its own share of the rows; worker 0, which listens at MASTER_ADDR:MASTER_PORT,
averages them, so that all workers always have the same weights. Nothing here knows the platform: what it gives are
arguments (`--lr 0.1`), directories in `EM_*` variables, and the variables that torch.distributed reads too.
"""

import argparse
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
CLASSES = 10
CONNECT_SECONDS = 60


@dataclass
class Group:
    """The workers of this training, connected through worker 0."""

    rank: int
    size: int
    peers: list[socket.socket] = field(default_factory=list)

    @classmethod
    def join(cls) -> "Group":
        """Meet the other workers."""
        group = cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        if group.size == 1:
            return group
        address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        group.peers = list(group._accept(address)) if group.rank == 0 else [group._connect(address)]
        for peer in group.peers:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return group

    def mean(self, values: Array) -> Array:
        """The mean over all workers; all get the same, to the last bit."""
        if self.rank == 0:
            total = sum((_receive(peer, values.size) for peer in self.peers), values.ravel())
            return self.first(total.reshape(values.shape) / self.size)
        self.peers[0].sendall(values.tobytes())
        return self.first(values)

    def first(self, values: Array) -> Array:
        """What worker 0 has, on all workers."""
        if self.rank == 0:
            for peer in self.peers:
                peer.sendall(values.tobytes())
            return values
        return _receive(self.peers[0], values.size).reshape(values.shape)

    def _accept(self, address: tuple[str, int]) -> Iterator[socket.socket]:
        """Connections to the other workers, in order of their ranks."""
        with socket.create_server(address, backlog=self.size) as server:
            server.settimeout(CONNECT_SECONDS)
            found = [server.accept()[0] for _ in range(self.size - 1)]
        return iter(sorted(found, key=lambda peer: peer.recv(1)))

    def _connect(self, address: tuple[str, int]) -> socket.socket:
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                peer = socket.create_connection(address)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)  # worker 0 does not listen yet
            else:
                peer.sendall(bytes([self.rank]))
                return peer


def _receive(peer: socket.socket, count: int) -> Array:
    values = np.empty(count)
    left = values.data.cast("B")
    while left:
        received = peer.recv_into(left)
        if not received:
            raise ConnectionError("another worker is gone")
        left = left[received:]
    return values


class Network:
    """Two layers: rectified linear units, then a softmax. All weights are one vector, so that they travel as one."""

    def __init__(self, inputs: int, hidden: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._shapes = [(inputs, hidden), (hidden,), (hidden, CLASSES), (CLASSES,)]
        parts = [random.normal(0, (2 / shape[0]) ** 0.5, shape) * (len(shape) == 2) for shape in self._shapes]
        self.weights: Array = np.concatenate([part.ravel() for part in parts])

    def layers(self) -> list[Array]:
        """The weights by layer, as views."""
        ends = np.cumsum([np.prod(shape) for shape in self._shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(self.weights, ends), self._shapes, strict=True)]

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Each row's probabilities of the classes, and the units of the hidden layer."""
        first, first_bias, second, second_bias = self.layers()
        hidden = np.maximum(rows @ first + first_bias, 0)
        scores = hidden @ second + second_bias
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True), hidden

    def gradient(self, rows: Array, labels: Labels) -> tuple[Array, float]:
        """The gradient of the mean log loss, and the loss."""
        probabilities, hidden = self.predict(rows)
        loss = -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()
        error = probabilities
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        below = (error @ self.layers()[2].T) * (hidden > 0)
        parts = [rows.T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
        return np.concatenate([part.ravel() for part in parts]), float(loss)


@dataclass
class Training:
    """What goes from one epoch to the next, and so into a checkpoint."""

    network: Network
    momentum: Array
    done: int = 0

    @classmethod
    def begin(cls, network: Network) -> "Training":
        """From the input checkpoint, which a restarted worker also gets, or from the start."""
        directory = os.environ.get("EM_CHECKPOINT_INPUT_DIR")
        found = sorted(Path(directory).glob("epoch-*.npz")) if directory else []
        if not found:
            return cls(network, np.zeros_like(network.weights))
        print(f"going on from {found[-1].name}", flush=True)
        with np.load(found[-1]) as saved:
            network.weights = saved["weights"]
            return cls(network, saved["momentum"], int(saved["done"]))

    def keep(self) -> None:
        """Leave a checkpoint; it is uploaded while the training goes on."""
        place = Path(os.environ["EM_CHECKPOINT_DIR"], f"epoch-{self.done:05d}.npz")
        save(place, weights=self.network.weights, momentum=self.momentum, done=self.done)

    def epoch(self, group: Group, rows: Array, labels: Labels, settings: argparse.Namespace) -> float:
        """One pass over all rows, each worker over its own share; the mean loss."""
        order = np.random.default_rng([settings.seed, self.done]).permutation(len(rows))
        share = len(rows) // group.size
        mine = order[group.rank * share : (group.rank + 1) * share]
        losses = []
        for batch in np.array_split(mine, max(share // settings.batch, 1)):
            gradient, loss = self.network.gradient(rows[batch], labels[batch])
            self.momentum = 0.9 * self.momentum + group.mean(gradient)
            self.network.weights = self.network.weights - settings.lr * self.momentum
            losses.append(loss)
        self.done += 1
        return float(group.mean(np.array([np.mean(losses)]))[0])


def read_digits(directory: str) -> tuple[Array, Labels]:
    """Rows scaled to 0..1, and labels."""
    tables = [np.loadtxt(file, delimiter=",", skiprows=1) for file in sorted(Path(directory).glob("*.csv"))]
    table = np.concatenate(tables)
    return table[:, :-1] / 16, table[:, -1].astype(np.int64)


def scores(network: Network, rows: Array, labels: Labels) -> tuple[float, float]:
    """The share of rows whose most probable class is right, and the mean log loss."""
    probabilities = network.predict(rows)[0]
    right = probabilities[np.arange(len(labels)), labels]
    return float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(right + 1e-12).mean())


def save(path: Path, **arrays: Any) -> None:
    """Write all of it under another name first, so that it is there wholly or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as stream:
        np.savez(stream, **arrays)
    partial.rename(path)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=32, help="rows of a step on each worker")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    settings = parser.parse_args()

    group = Group.join()
    rows, labels = read_digits(os.environ["EM_DATASET_TRAIN"])
    unseen = read_digits(os.environ["EM_DATASET_TEST"])
    training = Training.begin(Network(rows.shape[1], settings.hidden, settings.seed))
    network = training.network
    print(f"worker {group.rank} of {group.size} learns from {len(rows) // group.size} of {len(rows)} rows", flush=True)
    while training.done < settings.epochs:
        loss = training.epoch(group, rows, labels, settings)
        if group.rank == 0:
            (seen, _), (held_out, held_out_loss) = scores(network, rows, labels), scores(network, *unseen)
            report = f"loss={loss:.5f} accuracy={seen:.4f} val_loss={held_out_loss:.5f} val_accuracy={held_out:.4f}"
            print(f"epoch={training.done} {report}", flush=True)
            if training.done % 10 == 0:
                training.keep()
    if group.rank == 0:
        names = ("hidden", "hidden_bias", "output", "output_bias")
        layers = dict(zip(names, network.layers(), strict=True))
        save(Path(os.environ["EM_MODEL_DIR"], "model.npz"), **layers)


if __name__ == "__main__":
    main()
