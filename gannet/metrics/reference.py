"""Statistics of reference samples kept in a file: computed once, and compared only with what fits them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gannet import __version__
from gannet.core.errors import CheckpointError, DataError, UsageError
from gannet.core.tensorfile import read_tensors, write_tensors

MEND = "Save the reference again."


@dataclass(frozen=True)
class Reference:
    """What distances need of `n` reference samples: mean `[d]` and covariance `[d, d]` (N−1) in fp64, and the features
    `[n, d]` themselves where they were kept."""

    mean: np.ndarray
    cov: np.ndarray
    n: int
    features: np.ndarray | None = None

    @staticmethod
    def of(features: np.ndarray, keep: bool = True) -> Reference:
        """The statistics of `features` `[n, d]`, n ≥ 2. `DataError` for another shape or what is not finite."""
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
            raise DataError(f"a reference needs two rows [n, d] or more, all finite; received {list(features.shape)}.")
        cov = np.cov(features, rowvar=False).reshape(features.shape[1], -1)
        return Reference(features.mean(0), cov, len(features), features if keep else None)


def save_reference(path: str | Path, reference: Reference, protocol: str) -> Path:
    """Write `reference` to the `.safetensors` file `path`, in one step.

    `protocol` says how it was taken: extractor with hash and resize, count, source with fingerprint, split and seed.
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: a reference is a .safetensors file; write to {path.with_suffix('.safetensors')}.")
    arrays = {"mean": reference.mean, "cov": reference.cov, "features": reference.features}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items() if a is not None}
    return write_tensors(path, tensors, {"protocol": protocol, "n": str(reference.n), "gannet": __version__})


def load_reference(path: str | Path, protocol: str) -> Reference:
    """The reference in `path`, which must have been taken by `protocol`.

    Raises `UsageError`, naming both, where it was not: with another extractor, resize, count, data, split or seed a
    distance would be a number without meaning. Raises `CheckpointError` for a file that is missing or damaged.
    """
    path = Path(path).expanduser()
    tensors, notes = read_tensors(path, ("protocol", "n"), MEND)
    if notes["protocol"] != protocol:
        raise UsageError(
            f"{path} does not compare with these samples. It was taken by {notes['protocol']}, "
            f"this measurement is {protocol}. {MEND}"
        )
    if not _consistent(tensors, notes["n"]):
        raise CheckpointError(f"{path}: its arrays do not fit each other or its count, {notes['n']}. {MEND}")
    features = tensors.get("features")
    return Reference(
        tensors["mean"].numpy(), tensors["cov"].numpy(), int(notes["n"]), None if features is None else features.numpy()
    )


def _consistent(tensors: dict[str, Tensor], n: str) -> bool:
    """Whether the arrays are those of `n` rows of one width, in fp64 and finite."""
    if not {"mean", "cov"} <= tensors.keys() <= {"mean", "cov", "features"} or not n.isdecimal() or int(n) < 2:
        return False
    wide = tensors["mean"].numel()
    shapes = {"mean": (wide,), "cov": (wide, wide), "features": (int(n), wide)}
    return all(
        tensor.dtype == torch.float64 and tuple(tensor.shape) == shapes[name] and bool(tensor.isfinite().all())
        for name, tensor in tensors.items()
    )
