"""Reconstruction losses: plain functions, one number a sample, unreduced over the batch."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from gannet.core.errors import UsageError


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the axes of a sample of |output − target|: `[B, …]` twice → `[B]`."""
    return _mean_of_sample((_of_one_shape(output, target) - target).abs())


def l2(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the axes of a sample of (output − target)²: `[B, …]` twice → `[B]`."""
    return _mean_of_sample((_of_one_shape(output, target) - target).square())


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−log softmax(logits)[target], averaged over positions: logits `[B, K, …]`, classes `[B, …]` int64 → `[B]`.

    Takes logits: a softmax before it would bound the loss away from 0 and starve its gradient.
    """
    return _mean_of_sample(functional.cross_entropy(logits, target, reduction="none"))


def gaussian_nll(target: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """−log N(target; mean, exp(log_variance)), summed over the axes of a sample: `[B, …]` three times → `[B]`, in nats.

    ½ Σ (log 2π + log σ² + (target − mean)²/σ²), the likelihood of a continuous code in InfoGAN (Chen et al. 2016).
    """
    square = (_of_one_shape(mean, target) - target).square()
    nll = 0.5 * (math.log(2 * math.pi) + log_variance + square * (-log_variance).exp())
    return nll.reshape(len(nll), -1).sum(1)


def _mean_of_sample(loss: Tensor) -> Tensor:
    return loss.reshape(len(loss), -1).mean(1)


def _of_one_shape(output: Tensor, target: Tensor) -> Tensor:
    # [B] against [B, 1] would broadcast to every pair of samples.
    if output.shape != target.shape:
        raise UsageError(
            f"output {tuple(output.shape)} and target {tuple(target.shape)} differ in shape. "
            f"A reconstruction is compared number by number: give both one shape."
        )
    return output
