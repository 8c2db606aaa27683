"""Styles of a generator that maps its latent: which layers take them from whom (Karras et al. 2019, §3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gannet.core.errors import UsageError
from gannet.latent.starts import maps


def styles(generator: nn.Module) -> int:
    """How many layers of a generator take a style; 0 where its latent is not mapped."""
    return int(generator.styles) if maps(generator) else 0  # type: ignore[arg-type]


def mixed(w: Tensor, other: Tensor, layers: Sequence[int]) -> Tensor:
    """`w` `[N, L, n]` with the styles of `other` in `layers`. Coarse layers, the first, carry pose and shape; fine ones
    colour and texture. Raises `UsageError` for a layer that there is not."""
    if w.dim() != 3:
        raise UsageError("styles are mixed of a generator with a mapping network, as stylegan2; this one has none.")
    wrong = [layer for layer in layers if not 0 <= layer < w.shape[1]]
    if wrong:
        raise UsageError(f"style layer {wrong[0]} is not there: this generator has the layers 0 … {w.shape[1] - 1}.")
    found = w.clone()
    found[:, list(layers)] = other[:, list(layers)]
    return found
