"""Inception-v3 as it was released on 2015-12-05, whose tensors keep the names they have in PyTorch.

From the published architecture (Szegedy et al. 2015, arXiv 1512.00567) with three peculiarities of the released graph:
1,008 classes, average pools that do not count the padding, and a max pool in the last block. torchvision's Inception
has other weights and another last block; it is never put in its place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Convolution(nn.Module):
    """Convolution without bias, batch norm with ε = 0.001, ReLU. Stride 1 keeps the size, unless `valid`."""

    def __init__(self, inner: int, outer: int, kernel: tuple[int, int], stride: int = 1, valid: bool = False):
        super().__init__()
        padding = (0, 0) if valid or stride > 1 else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


Step = tuple[str, int, tuple[int, int]]
Branch = tuple[Step | tuple[Step, Step], ...]
"""Convolutions in a row: name, channels, kernel. A pair of them reads one input, and their outputs are stacked."""


class Mixed(nn.Module):
    """One block: branches side by side, and a pool with `pooled` channels (0: none, all are kept). With `stride` 2 the
    last convolution of every branch halves."""

    def __init__(self, inner: int, branches: tuple[Branch, ...], pooled: int, pool: str = "mean", stride: int = 1):
        super().__init__()
        self.branches, self.pool, self.stride = branches, pool, stride
        self.outer = pooled or inner
        for branch in branches:
            wide = inner
            for step in branch:
                pair = step if isinstance(step[0], tuple) else (step,)
                for name, channels, kernel in pair:
                    self.add_module(name, Convolution(wide, channels, kernel, stride if step is branch[-1] else 1))
                wide = sum(channels for _, channels, _ in pair)
            self.outer += wide
        self.branch_pool = Convolution(inner, pooled, (1, 1)) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for branch in self.branches:
            y = x
            for step in branch:
                names = [name for name, _, _ in (step if isinstance(step[0], tuple) else (step,))]
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            found.append(y)
        padding = 0 if self.stride > 1 else 1
        if self.pool == "mean":
            pooled = F.avg_pool2d(x, 3, 1, padding, count_include_pad=False)
        else:
            pooled = F.max_pool2d(x, 3, self.stride, padding)
        return torch.cat([*found, self.branch_pool(pooled)], 1)


def _a(inner: int, pooled: int) -> Mixed:
    five = (("branch5x5_1", 48, (1, 1)), ("branch5x5_2", 64, (5, 5)))
    double = (("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3)))
    return Mixed(inner, ((("branch1x1", 64, (1, 1)),), five, double), pooled)


def _b(inner: int) -> Mixed:
    double = (("branch3x3dbl_1", 64, (1, 1)), ("branch3x3dbl_2", 96, (3, 3)), ("branch3x3dbl_3", 96, (3, 3)))
    return Mixed(inner, ((("branch3x3", 384, (3, 3)),), double), 0, "max", 2)


def _c(inner: int, wide: int) -> Mixed:
    seven = (("branch7x7_1", wide, (1, 1)), ("branch7x7_2", wide, (1, 7)), ("branch7x7_3", 192, (7, 1)))
    double = (
        ("branch7x7dbl_1", wide, (1, 1)),
        ("branch7x7dbl_2", wide, (7, 1)),
        ("branch7x7dbl_3", wide, (1, 7)),
        ("branch7x7dbl_4", wide, (7, 1)),
        ("branch7x7dbl_5", 192, (1, 7)),
    )
    return Mixed(inner, ((("branch1x1", 192, (1, 1)),), seven, double), 192)


def _d(inner: int) -> Mixed:
    three = (("branch3x3_1", 192, (1, 1)), ("branch3x3_2", 320, (3, 3)))
    seven = (
        ("branch7x7x3_1", 192, (1, 1)),
        ("branch7x7x3_2", 192, (1, 7)),
        ("branch7x7x3_3", 192, (7, 1)),
        ("branch7x7x3_4", 192, (3, 3)),
    )
    return Mixed(inner, (three, seven), 0, "max", 2)


def _e(inner: int, pool: str) -> Mixed:
    three = (("branch3x3_1", 384, (1, 1)), (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))))
    double = (
        ("branch3x3dbl_1", 448, (1, 1)),
        ("branch3x3dbl_2", 384, (3, 3)),
        (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
    )
    return Mixed(inner, ((("branch1x1", 320, (1, 1)),), three, double), 192, pool)


class InceptionNetwork(nn.Module):
    """Images `[B, 3, 299, 299]` of levels 0 … 255 → the 2,048 means of the last block (pool3); `fc` gives classes."""

    def __init__(self) -> None:
        super().__init__()
        three = (3, 3)
        self.Conv2d_1a_3x3 = Convolution(3, 32, three, 2)  # 149
        self.Conv2d_2a_3x3 = Convolution(32, 32, three, valid=True)  # 147
        self.Conv2d_2b_3x3 = Convolution(32, 64, three)
        self.Conv2d_3b_1x1 = Convolution(64, 80, (1, 1))  # 73, after a pool
        self.Conv2d_4a_3x3 = Convolution(80, 192, three, valid=True)  # 71
        self.Mixed_5b = _a(192, 32)  # 35, after a pool
        self.Mixed_5c = _a(256, 64)
        self.Mixed_5d = _a(288, 64)
        self.Mixed_6a = _b(288)  # 17
        self.Mixed_6b = _c(768, 128)
        self.Mixed_6c = _c(768, 160)
        self.Mixed_6d = _c(768, 160)
        self.Mixed_6e = _c(768, 192)
        self.Mixed_7a = _d(768)  # 8
        self.Mixed_7b = _e(1280, "mean")
        self.Mixed_7c = _e(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 128) / 128
        for name, layer in self.named_children():
            if name in ("Conv2d_3b_1x1", "Mixed_5b"):
                x = F.max_pool2d(x, 3, 2)
            if name != "fc":
                x = layer(x)
        return x.mean((2, 3))


def shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor the network is filled with."""
    with torch.device("meta"):
        state = InceptionNetwork().state_dict()
    return {name: tuple(t.shape) for name, t in state.items() if not name.endswith("num_batches_tracked")}
