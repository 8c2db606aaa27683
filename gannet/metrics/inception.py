"""Inception-v3 of 2015-12-05 as an extractor: the features, and no others, that FID and KID are named for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.convert import converted
from gannet.core.errors import CheckpointError, UsageError
from gannet.core.parts import Extractor
from gannet.core.registry import EXTRACTORS
from gannet.core.tensorfile import read_tensors
from gannet.metrics.features import shape_text, size_text
from gannet.metrics.inception_network import InceptionNetwork, shapes

FILE = "inception-2015-12-05.safetensors"
URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIDE = 299
ROWS = 25
"""Images that pass through at once: the first layers hold 5 MB of activations each."""


# --------------------------------------------------------------------------------------------------------- resizes


def quantised(x: Tensor) -> Tensor:
    """Samples in [−1, 1] as the levels 0 … 255 they are saved with, `[B, 3, H, W]` float; grey fills three channels."""
    levels = x.clamp(-1, 1).add(1).mul(127.5).round()
    return levels.expand(-1, 3, -1, -1)


def resize_tf1(x: Tensor, side: int = SIDE) -> Tensor:
    """Bilinear as in TensorFlow 1: output i reads at i · in/out (corners not aligned, no half-pixel centres, no
    antialiasing), clamped at the far edge. `[B, C, H, W]` → `[B, C, side, side]`."""
    for axis in (3, 2):
        length = x.shape[axis]
        place = torch.arange(side, dtype=torch.float32) * (length / side)
        low = place.floor().long().clamp(max=length - 1)
        near, far = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=length - 1))
        x = near + (far - near) * (place - low).view([-1 if i == axis else 1 for i in range(4)])
    return x


def resize_clean(x: Tensor, side: int = SIDE) -> Tensor:
    """Antialiased bicubic of each channel as floats by Pillow, kept in 0 … 255 and not rounded (Parmar et al. 2022,
    arXiv 2104.11222). `[B, C, H, W]` → `[B, C, side, side]`."""
    from PIL import Image

    channels = [
        np.asarray(Image.fromarray(channel).resize((side, side), Image.Resampling.BICUBIC))
        for channel in x.contiguous().flatten(0, 1).numpy()
    ]
    return torch.from_numpy(np.stack(channels)).clamp(0, 255).view(*x.shape[:2], side, side)


RESIZES = {"tf1": resize_tf1, "clean": resize_clean}


# ------------------------------------------------------------------------------------------------------- extractor


@EXTRACTORS.register("inception")
class Inception(Extractor):
    """The 2,048 features of Inception-v3 of 2015-12-05, and its 1,008 class probabilities: what FID is measured in.

    Samples are rounded to the levels they are saved with, grey ones repeated in three channels. `resize` is how they
    come to 299×299: `tf1` as in the first FID (Heusel et al. 2017), `clean` as in clean-fid; the two do not compare.
    Probabilities are the softmax of logits without bias, as the Inception score takes them. `weights` is a file made by
    `gannet convert inception`; without it the one in $GANNET_DATA or the cache is used, or downloaded. Distances are
    called FID and KID only in the released weights. Raises `UsageError` for samples that are no grey or colour images,
    `CheckpointError` if the weights cannot be had.
    """

    def __init__(self, shape: tuple[int, ...], *, weights: str | None = None, resize: Literal["tf1", "clean"] = "tf1"):
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise UsageError(
                f"inception reads images of 1 or 3 channels, the samples are {shape_text(shape)}. "
                f"Use random-conv or pca for other images, pixels for points."
            )
        self.shape, self.resize = tuple(shape), resize
        path = Path(weights).expanduser() if weights else find()
        mend = "Convert the released file again: gannet convert inception."
        state, notes = read_tensors(path, ("source_sha256",), mend)
        if {name: tuple(tensor.shape) for name, tensor in state.items()} != shapes():
            raise CheckpointError(f"{path} holds other tensors than Inception-v3 has. {mend}")
        self.sha256 = notes["source_sha256"]
        self.network = InceptionNetwork().eval().requires_grad_(False)
        self.network.load_state_dict(state, strict=False)  # all but the batch norms' counters, which nothing reads
        released = self.sha256 == SHA256
        self.name = f"inception{'2015' if released else ''}-{resize}"
        self.symbols = {"fd": "fid", "kd": "kid"} if released else {}

    def features(self, x: Tensor) -> Tensor:
        resized = RESIZES[self.resize]
        return torch.cat([self.network(resized(quantised(part))) for part in x.split(ROWS)])

    def probabilities(self, x: Tensor) -> Tensor:
        return F.linear(self.features(x), self.network.fc.weight).softmax(1)

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},{size_text(self.shape)}"


# --------------------------------------------------------------------------------------------------------- weights


def convert(path: str | Path, out: str | Path | None = None) -> Path:
    """Convert the weights released for PyTorch (`pt_inception-2015-12-05-6726825d.pth`) to safetensors, once.

    Written to `out`, or to the user's cache, where the extractor finds them. Another file of the same network is
    converted only to an `out` of its own, and distances in its features are not called FID. Raises `CheckpointError`
    for a file that cannot be read, would run code when opened, or is not of this network.
    """
    path = Path(path).expanduser()
    if out is None:
        return converted(path, shapes(), _cache() / FILE, SHA256)
    return converted(path, shapes(), Path(out).expanduser())


def find() -> Path:
    """The converted released weights: in $GANNET_DATA, in the cache, or downloaded, checked and converted now.

    Raises `CheckpointError` with the address, the hash and what to do without a network.
    """
    places = [Path(home).expanduser() / FILE for home in [os.environ.get("GANNET_DATA")] if home] + [_cache() / FILE]
    for place in places:
        if place.is_file():
            return place
    # Imported late: it brings an HTTP stack that most commands never need.
    import pooch

    pooch.get_logger().setLevel("WARNING")
    name = URL.rsplit("/", 1)[1]
    try:
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
        found = pooch.retrieve(URL, f"sha256:{SHA256}", name, _cache(), downloader=downloader)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the Inception weights are not here and could not be downloaded ({type(error).__name__}: "
            f"{str(error)[:200]}).\nWithout a network: fetch {URL} elsewhere (95,628,359 bytes, SHA-256 {SHA256}), and "
            f"run gannet convert inception {name}, which writes {places[-1]}; or put a converted file at {places[0]}.\n"
            f"Extractors that need no download: classifier, mnist-classifier, pca, random-conv. Their distances are "
            f"not FID."
        ) from None
    return convert(found)


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("gannet"))
