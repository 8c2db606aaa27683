"""Sound as pictures and back: log-mel spectrograms, and waveforms that have them.

| parameter | value                                                                                   |
|-----------|-----------------------------------------------------------------------------------------|
| rate      | 8,000 samples a second                                                                  |
| length    | 8,064 samples, 1.008 s: 63 hops, so that there are 64 frames                            |
| frames    | Hann window of 512 samples (64 ms), hop 128 (16 ms), zeros beyond the ends              |
| bands     | 64 triangles of height 1 on the mel scale of HTK, 2595 log₁₀(1 + f/700), 0 … 4,000 Hz    |
| values    | power in dB, about 0 for a sine of full scale; −80 … 0 become −1 … 1, the rest is cut   |
| picture   | time from left to right, frequency from the bottom up                                   |
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from gannet.core.errors import UsageError
from gannet.core.random import generator

RATE = 8_000
WINDOW, HOP, SIDE = 512, 128, 64
LENGTH = (SIDE - 1) * HOP
FLOOR = -80.0
FULL_SCALE = WINDOW / 4  # |STFT| of a sine of amplitude 1: half the sum of the window


def spectrogram(waves: Tensor) -> Tensor:
    """The log-mel spectrograms `[B, 1, 64, 64]` in [−1, 1] of `waves` `[B, 8064]` in [−1, 1]."""
    power = _stft(waves).abs().square() / FULL_SCALE**2  # [B, 257, 64]
    decibels = 10 * (mel_bands() @ power).clamp(min=10 ** (FLOOR / 10)).log10()
    return (1 - 2 * decibels / FLOOR).clamp(-1, 1).flip(1).unsqueeze(1)


def waveform(pictures: Tensor, steps: int = 64) -> Tensor:
    """Waveforms `[B, 8064]` in [−1, 1] whose spectrograms are close to `pictures` `[B, 1, 64, 64]`, to hear them.

    The power of each frequency is found from the bands by multiplicative updates, which keep it positive (Lee and
    Seung, 2001), the phase by the accelerated algorithm of Griffin and Lim (Perraudin et al., 2013) from random phases,
    the same each time. What lies at the floor is silence. Raises `UsageError` for another shape.
    """
    if pictures.shape[1:] != (1, SIDE, SIDE):
        raise UsageError(f"waveform() makes sound of [B, 1, {SIDE}, {SIDE}] spectrograms, not {list(pictures.shape)}.")
    decibels = (1 - pictures.detach().float().cpu().squeeze(1).flip(1)) / 2 * FLOOR  # [B, 64, 64]
    mel = torch.where(decibels > FLOOR, 10 ** (decibels / 10), 0.0)
    magnitude = _power(mel).sqrt() * FULL_SCALE
    turns = torch.rand(magnitude.shape, generator=generator("griffin-lim"))
    phase = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
    before = torch.zeros_like(phase)
    for _ in range(steps):
        now = _stft(_overlapped(magnitude * phase))
        ahead = now + 0.99 * (now - before)
        phase, before = ahead / ahead.abs().clamp(min=1e-12), now
    return _overlapped(magnitude * phase).clamp(-1, 1)


@cache
def mel_bands() -> Tensor:
    """The bands' weights of each frequency, `[64, 257]`: triangles between neighbours, evenly spaced in mel."""
    top = _mel(torch.tensor(RATE / 2, dtype=torch.float64))
    edges = 700 * (10 ** (torch.linspace(0, float(top), SIDE + 2, dtype=torch.float64) / 2595) - 1)
    frequency = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0).float()


def _mel(frequency: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + frequency / 700)


def _power(mel: Tensor, steps: int = 100) -> Tensor:
    """P ≥ 0 with |bands · P − mel|² small, `[B, 257, 64]`: P ← P · (bandsᵀ mel) / (bandsᵀ bands P)."""
    bands = mel_bands()
    wanted, product = bands.T @ mel, bands.T @ bands
    power = wanted.clone()
    for _ in range(steps):
        power *= wanted / (product @ power).clamp(min=1e-20)
    return power


def _stft(waves: Tensor) -> Tensor:
    window = torch.hann_window(WINDOW)
    return torch.stft(waves, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)


def _overlapped(frames: Tensor) -> Tensor:
    return torch.istft(frames, WINDOW, HOP, window=torch.hann_window(WINDOW), length=LENGTH)
