"""Fit a network by stochastic gradients, and compute its log-odds with the same bits whatever other rows there are."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from job.core.errors import TrainingError
from job.learning.sequences import Sequences
from job.learning.splits import Fold

Rows = npt.NDArray[np.floating[Any]] | Sequences

BATCH_ROWS: Final = 512
"""Rows that are predicted at once, fewer where each is of many bars: of as few as one, as many are computed."""
BATCH_BARS: Final = 2**16
SPARE_ROWS: Final = 64
"""Rows of zeros behind each batch that is predicted: kernels treat the last rows of a matrix in ways that round
differently, and no kernel multiplies more than these at once."""
MOMENTUM: Final = 0.9
SQUARES: Final = 0.999
EPSILON: Final = 1e-8


@dataclass(frozen=True)
class Schedule:
    """How a network is fitted: at most so many epochs, stopped after `patience` without a lower validation loss."""

    epochs: int
    patience: int
    batch_rows: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class Examples:
    """Labeled rows on a device: row i is `view[starts[i]]`, a view of the matrix; `weight` is on average 1."""

    view: Tensor
    starts: Tensor
    up: Tensor
    weight: Tensor

    def at(self, index: Tensor) -> "Examples":
        """Return the rows at `index`."""
        return Examples(self.view, self.starts[index], self.up[index], self.weight[index])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let this thread compute alone, so that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def view_of(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return rows as a tensor of [rows, features] or [windows, bars, features], and where in it each row is.

    Windows share their bars: only a batch of them is ever copied.
    """
    if not isinstance(rows, Sequences):
        matrix = torch.from_numpy(np.require(rows, np.float32, ["C", "W"])).to(device)
        return matrix, torch.arange(len(matrix), device=device)
    bars = torch.from_numpy(np.require(rows.bars, np.float32, ["C", "W"])).to(device)
    count, features = bars.shape
    view = bars.as_strided((count - rows.length + 1, rows.length, features), (features, features, 1))
    return view, torch.from_numpy(rows.ends - rows.length + 1).to(device)


def log_odds(module: nn.Module, view: Tensor, starts: Tensor) -> Tensor:
    """Return float32 [rows, members] of rows as `view_of` returns them, batch by batch of one size."""
    bars = view.shape[1] if view.ndim == 3 else 1
    batch_rows = min(max(BATCH_BARS // bars, SPARE_ROWS), BATCH_ROWS)
    padded = torch.zeros((batch_rows + SPARE_ROWS, *view.shape[1:]), device=view.device)
    found = []
    with one_thread(), torch.inference_mode():
        for chosen in starts.split(batch_rows):
            padded[: len(chosen)] = view[chosen]
            found.append(module(padded)[: len(chosen)].clone())
    return torch.cat(found)


def fit(
    module: nn.Module, examples: Examples, schedule: Schedule, *, validation: Fold | None, seed: int
) -> dict[str, Any]:
    """Fit a module whose last layer is `output`, and return as JSON values what happened.

    With `validation`, rows at `train` are fitted, and the weights are kept with which those at `test` had the lowest
    loss. Before its first step a network says the base rate, and stays with it if no epoch finds more. Without, all
    rows are fitted for all epochs.

    Raises:
        TrainingError: a loss is beyond all numbers.
    """
    device, generator = examples.up.device, torch.Generator().manual_seed(seed)
    fitted, judged = examples, None
    if validation is not None:
        fitted, judged = (
            examples.at(torch.from_numpy(part).to(device)) for part in (validation.train, validation.test)
        )
    share = (fitted.up * fitted.weight).sum() / fitted.weight.sum()
    with torch.no_grad():  # whatever the features, it begins with the log-odds of the base rate
        module.output.weight.zero_()
        module.output.bias.fill_(float(torch.logit(share.double(), eps=1e-3)))
    optimizer = _AdamW(module, schedule)
    curve: dict[str, list[float]] = {"training": [], "validation": []}
    best, kept = 0, _state(module)
    if judged is not None:
        curve["validation"].append(_loss_of(module, judged))
    for epoch in range(1, schedule.epochs + 1):
        curve["training"].append(_epoch(module, fitted, optimizer, schedule.batch_rows, generator))
        if not math.isfinite(curve["training"][-1]):
            raise TrainingError(f"the network diverged in epoch {epoch}: lower its learning_rate or weight_decay")
        if judged is None:
            best = epoch
            continue
        curve["validation"].append(_loss_of(module, judged))
        if curve["validation"][-1] < curve["validation"][best]:
            best, kept = epoch, _state(module)
        elif epoch - best >= schedule.patience:
            break
    if judged is not None:
        module.load_state_dict(kept)
    rounded = {name: [round(loss, 6) for loss in losses] for name, losses in curve.items() if losses}
    return {"epochs": best, "device": device.type, "loss": rounded}


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _loss(logits: Tensor, examples: Examples) -> Tensor:
    """Return the mean log-loss over rows and members: every member is fitted by itself."""
    target = examples.up[:, None].expand_as(logits)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
    return (losses * examples.weight).sum() / examples.weight.sum()


def _loss_of(module: nn.Module, examples: Examples) -> float:
    return float(_loss(log_odds(module, examples.view, examples.starts), examples))


def _epoch(
    module: nn.Module, examples: Examples, optimizer: "_AdamW", batch_rows: int, generator: torch.Generator
) -> float:
    """Go once through all rows in an order drawn by `generator`, in batches of nearly equal size; return the loss."""
    rows = len(examples.up)
    order = torch.randperm(rows, generator=generator).to(examples.up.device)
    total = 0.0
    for index in order.tensor_split(max(1, -(-rows // batch_rows))):
        batch = examples.at(index)
        loss = _loss(module(batch.view[batch.starts]), batch)
        optimizer.step(torch.autograd.grad(loss, optimizer.parameters))
        total += float(loss.detach()) * len(index)
    return total / rows


class _AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    PyTorch's own imports its compiler on first use: six seconds and 500 MB in every worker.
    """

    def __init__(self, module: nn.Module, schedule: Schedule) -> None:
        self.parameters = list(module.parameters())
        self.means = [torch.zeros_like(one) for one in self.parameters]
        self.squares = [torch.zeros_like(one) for one in self.parameters]
        self.rate, self.decay, self.steps = schedule.learning_rate, schedule.weight_decay, 0

    def step(self, gradients: tuple[Tensor, ...]) -> None:
        """Change the parameters against their gradients."""
        self.steps += 1
        unbiased_mean, unbiased_square = 1 - MOMENTUM**self.steps, 1 - SQUARES**self.steps
        moments = zip(self.parameters, gradients, self.means, self.squares, strict=True)
        with torch.no_grad():
            for parameter, gradient, mean, square in moments:
                mean.lerp_(gradient, 1 - MOMENTUM)
                square.mul_(SQUARES).addcmul_(gradient, gradient, value=1 - SQUARES)
                parameter.mul_(1 - self.rate * self.decay)
                scale = (square / unbiased_square).sqrt_().add_(EPSILON)
                parameter.addcdiv_(mean, scale, value=-self.rate / unbiased_mean)
