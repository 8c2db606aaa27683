"""What augmentations of images share."""

from __future__ import annotations

from torch import Tensor

from gannet.core.errors import UsageError


def check_images(name: str, x: Tensor) -> None:
    """Raise `UsageError`, for the augmentation `name`, unless `x` is `[B, C, H, W]`."""
    if x.dim() != 4:
        raise UsageError(
            f"{name} changes images [B, C, H, W], got samples of shape {tuple(x.shape[1:])}. "
            f"Use augment=none or augment=noise with this data."
        )


def by_row(numbers: Tensor) -> Tensor:
    """`[B]` as a tensor that broadcasts over images."""
    return numbers[:, None, None, None]
