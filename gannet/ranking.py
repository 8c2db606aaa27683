"""The best and the worst samples, as judged by how close they come to reals: a picture to look at beside a score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gannet.core.errors import UsageError
from gannet.engine.pictures import save_samples, to_uint8
from gannet.metrics.evaluator import CHUNK, Evaluator, Generate
from gannet.metrics.manifold import realism

EACH = 32


def picture_ranking(judge: Evaluator, generate: Generate, path: Path) -> Path:
    """Write the 32 most realistic of the judge's `n` samples above the 32 least realistic ones to the picture `path`.

    Realism is that of Kynkäänniemi et al. 2019 (arXiv 1904.06991, section 5) in the judge's features: the larger, the
    deeper a sample lies among the reals. Raises `UsageError` for samples that are no images, or fewer than 64.
    """
    if judge.source.spec.kind != "image" or judge.n < 2 * EACH:
        raise UsageError(
            f"a ranking shows {2 * EACH} images or more; this measures {judge.n} samples "
            f"of the kind {judge.source.spec.kind}."
        )
    x = judge.samples(generate)
    with torch.no_grad():
        features = np.concatenate([judge.extractor.features(part).double().numpy() for part in x.split(CHUNK)])
    order = torch.from_numpy(np.argsort(-realism(features, judge.reals("features")), kind="stable"))
    return save_samples(to_uint8(torch.cat([x[order[:EACH]], x[order[-EACH:]]])), path)
