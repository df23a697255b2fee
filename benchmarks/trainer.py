"""A step of the trainer, and of the same network in a tuned loop of PyTorch.

Both learn the digits with AdamW along a cosine and look at nothing on the way: a call
is the steps between two evaluations, here one dispatch, there a loop in Python whose
data are tensors beforehand. Of PyTorch's ways, eager and compiled, with the `foreach`
and the `fused` AdamW, the quickest runs; it is spared the accuracy of each batch, and
that biases do not decay. The same without dropout says what dropout costs.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from benchmarks.contestants import TORCH, absent
from benchmarks.table import Row, Settings, row
from benchmarks.timing import Entry, quartiles, take_turns
from examples import loop
from examples.build import Run, build
from examples.config import parse
from jdrop import key_for

# By name: the options of the trainer.
CASES = {"trainer, MLP": ["--devices", "1"]}
CASES["trainer, CNN"] = [*CASES["trainer, MLP"], "--model", "cnn"]
WITHOUT, NONE = ["--rate", "0"], " without"
THREADS = (1, 2)
WAYS = [(way, kind) for way in ("eager", "compiled") for kind in ("foreach", "fused")]


def run(settings: Settings) -> Iterator[Row]:
    """Times each network, with its dropout and without."""
    for case in list(CASES)[:1] if settings.quick else CASES:
        yield from contest(case, settings)


def contest(case: str, settings: Settings) -> Iterator[Row]:
    """Times one network: a key of `CASES`."""
    configs = [parse([*CASES[case], *more]) for more in ([], WITHOUT)]
    plans = [build(config) for config in configs]
    pairs = {"jdrop, linen": [jdrop_calls(plan) for plan in plans]}
    if TORCH not in absent():
        rates = [
            (c.input_rate, *c.rate) if c.model == "mlp" else c.rate for c in configs
        ]
        for threads in THREADS:
            torch_pair = [torch_calls(plans[0], of, threads) for of in rates]
            way = _quickest(torch_pair[0], WAYS[:2] if settings.quick else WAYS)
            name = f"torch, {threads} thread{'s' * (threads > 1)}, {' '.join(way)}"
            pairs[name] = [make(*way) for make in torch_pair]
    entries = [
        Entry(name + suffix, calls)
        for name, pair in pairs.items()
        for suffix, calls in zip(("", NONE), pair, strict=True)
    ]
    clock, busy = take_turns(entries, *settings.pace)
    steps, batch_size = plans[0].every, plans[0].batch_size
    for name in pairs:
        figures = {
            f"step {what}{suffix}": ([s / steps for s in times[name + suffix]], "s")
            for suffix in ("", NONE)
            for what, times in (("time", clock), ("cpu", busy))
        }
        on, off = clock[name], clock[name + NONE]
        share = [1 - b / a for a, b in zip(on, off, strict=True)]
        figures["dropout"] = share, "of a step"
        figures["examples per second"] = [steps * batch_size / s for s in on], "1/s"
        for metric, (values, unit) in figures.items():
            low, value, high = (float(f"{v:.4g}") for v in quartiles(values))
            about = {"case": case, "dtype": "float32", "low": low, "high": high}
            yield row(name, metric, value, unit, (batch_size,), **about)


def jdrop_calls(plan: Run) -> Callable[[int], float]:
    """Calls of `loop.train_steps`, and their seconds."""
    key = plan.key(0)
    train = plan.on_devices(plan.splits.train)
    state = loop.create_state(plan.method, key_for(key, "weights"))
    about = (plan.every, plan.batch_size)
    program = loop.train_steps.lower(state, train, key, *about).compile()

    def calls(count: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(count):
            state, _ = jax.block_until_ready(program(state, train, key))
        return (time.perf_counter() - start) / count

    return calls


def torch_calls(
    plan: Run, rates: Sequence[float], threads: int
) -> Callable[[str, str], Callable[[int], float]]:
    """A function of a way and an AdamW, to calls of as many steps in PyTorch."""
    import torch

    def make(way: str, kind: str) -> Callable[[int], float]:
        torch.set_num_threads(threads)
        images = torch.from_numpy(plan.splits.train.images.transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(plan.splits.train.labels).long()
        network = (_mlp if len(rates) == 3 else _cnn)(torch.nn, *rates)
        options: Any = {kind: True, "weight_decay": 1e-4}
        learner = torch.optim.AdamW(network.parameters(), **options)
        objective = torch.nn.CrossEntropyLoss()

        def loss_of(images: Any, labels: Any) -> Any:
            return objective(network(images), labels)

        loss_of = torch.compile(loss_of) if way == "compiled" else loss_of
        step, epoch = 0, len(labels) // plan.batch_size * plan.batch_size
        epochs = math.ceil(plan.every * plan.batch_size / epoch)

        def calls(count: int) -> float:
            nonlocal step
            torch.set_num_threads(threads)
            start = time.perf_counter()
            for _ in range(count):
                parts = [torch.randperm(len(labels))[:epoch] for _ in range(epochs)]
                order = torch.cat(parts)[: plan.every * plan.batch_size]
                total = torch.zeros(())
                for rows in order.split(plan.batch_size):
                    factor = 0.5 + 0.5 * math.cos(math.pi * step / plan.steps)
                    learner.param_groups[0]["lr"] = 1e-3 * factor
                    loss = loss_of(images[rows], labels[rows])
                    loss.backward()
                    learner.step()
                    learner.zero_grad(set_to_none=True)
                    total += loss.detach()
                    step += 1
            return (time.perf_counter() - start) / count

        return calls

    return make


def _quickest(
    make: Callable[[str, str], Callable[[int], float]], ways: list[tuple[str, str]]
) -> tuple[str, str]:
    def seconds(way: tuple[str, str]) -> float:
        calls = make(*way)
        calls(2)
        return min(calls(1) for _ in range(3))

    return min(ways, key=seconds)


def _dropout(nn: Any, rate: float) -> list[Any]:
    return [nn.Dropout(rate)] if rate else []


def _mlp(nn: Any, *rates: float) -> Any:
    layers = [nn.Flatten(), *_dropout(nn, rates[0])]
    for width, rate in zip((64, 256), rates[1:], strict=True):
        layers += [nn.Linear(width, 256), nn.ReLU(), *_dropout(nn, rate)]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def _cnn(nn: Any, *rates: float) -> Any:
    layers: list[Any] = []
    for inputs, outputs in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), *_dropout(nn, rates[0]), nn.Linear(128, 512), nn.ReLU()]
    return nn.Sequential(*layers, *_dropout(nn, rates[1]), nn.Linear(512, 10))
