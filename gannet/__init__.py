"""Gannet: train, measure and use generative adversarial networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gannet.api import GAN, compare, evaluate

    __version__: str

__all__ = ["GAN", "__version__", "compare", "evaluate"]


def __getattr__(name: str) -> Any:
    # Late, so that `gannet --help` and reading a run do not wait for torch.
    if name in ("GAN", "compare", "evaluate"):
        from gannet import api

        return getattr(api, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("gannet")
    raise AttributeError(f"module 'gannet' has no attribute {name!r}")
