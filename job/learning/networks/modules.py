"""What the networks compute: from float32 [rows, features] or [rows, bars, features] to log-odds [rows, members].

Widths are multiples of 16, so that no row of an inner loop is left over for instructions that round differently.
"""

import math
from itertools import pairwise

import tabm
from torch import Tensor, nn

MEMBER = 1
"""Log-odds per row of a network that is no ensemble."""


class Mlp(nn.Module):
    """Linear layers with GELU between them."""

    def __init__(self, features: int, *, width: int, blocks: int) -> None:
        super().__init__()
        sizes = [features, *(width for _ in range(blocks))]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.output = nn.Linear(width, MEMBER)

    def forward(self, rows: Tensor) -> Tensor:
        """Return log-odds of up."""
        for layer in self.hidden:
            rows = nn.functional.gelu(layer(rows))
        logits: Tensor = self.output(rows)
        return logits


class Gru(nn.Module):
    """A layer of gated recurrent units (Cho et al. 2014), of which the state after the last bar is read."""

    def __init__(self, features: int, *, width: int) -> None:
        super().__init__()
        self.recurrent = nn.GRU(features, width, batch_first=True)
        self.output = nn.Linear(width, MEMBER)

    def forward(self, rows: Tensor) -> Tensor:
        """Return log-odds of up."""
        _, state = self.recurrent(rows)
        logits: Tensor = self.output(state[0])
        return logits


class Tcn(nn.Module):
    """Causal convolutions of two taps, dilated by 1, 2, 4, … (van den Oord et al. 2016, Bai, Kolter and Koltun 2018).

    Only the output at the last bar is read. Of each layer it needs every second position of the layer below, so a
    layer joins neighboring pairs: a tree of as many steps as bars, where whole convolutions take bars · layers.
    """

    def __init__(self, features: int, *, width: int, bars: int) -> None:
        super().__init__()
        layers = max(1, math.ceil(math.log2(bars)))
        self.missing = 2**layers - bars
        self.input = nn.Linear(features, width)
        self.pairs = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        self.output = nn.Linear(width, MEMBER)

    def forward(self, rows: Tensor) -> Tensor:
        """Return log-odds of up."""
        steps = self.input(nn.functional.pad(rows, (0, 0, self.missing, 0)))
        for layer in self.pairs:
            later = steps[:, 1::2]
            steps = later + nn.functional.relu(layer(steps.reshape(len(steps), steps.shape[1] // 2, -1)))
        logits: Tensor = self.output(steps[:, 0])
        return logits


class TabM(nn.Module):
    """Many networks that share most of their weights (Gorishniy, Kotelnikov and Babenko 2025), of the package tabm."""

    def __init__(self, features: int, *, width: int, blocks: int, members: int) -> None:
        super().__init__()
        self.ensemble = tabm.TabM.make(
            n_num_features=features, d_out=MEMBER, k=members, n_blocks=blocks, d_block=width, dropout=0.0
        )

    @property
    def output(self) -> nn.Module:
        """The last layer."""
        layer: nn.Module = self.ensemble.output
        return layer

    def forward(self, rows: Tensor) -> Tensor:
        """Return log-odds of up by each member."""
        logits: Tensor = self.ensemble(rows)
        return logits[..., 0]
