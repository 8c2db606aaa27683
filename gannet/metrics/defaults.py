"""What a source is measured in and by when nobody says: the extractor that suits it, the metrics of its kind, how many
rows."""

from __future__ import annotations

import math

from gannet.core.errors import UsageError
from gannet.core.parts import Extractor
from gannet.core.registry import EXTRACTORS
from gannet.core.spec import Spec, parse
from gannet.core.types import Source
from gannet.metrics.histogram import MOST_COORDINATES
from gannet.metrics.naming import source_name


def default_extractor(source: Source) -> str:
    """The first that `suits` the source and reads its shape; else random convolutions for images, the samples
    themselves for points."""
    name = source_name(source.whole or source)
    for candidate in EXTRACTORS.names():
        if name in getattr(EXTRACTORS.get(candidate), "suits", ()):
            try:
                EXTRACTORS.build(candidate, source.spec.shape)
            except UsageError:  # the digits at another size, say
                continue
            return candidate
    return "random-conv" if source.spec.kind == "image" else "pixels"


def default_metrics(source: Source) -> list[str]:
    """Primary first. Images: distances in features, precision, recall. Points: divergence where a histogram can be
    taken, transport, precision, recall, modes.

    Transport is not the primary one where there is a choice: W₂ between clouds of separate modes is ruled by how many
    samples happened to fall into which, and hardly sees what lies between them.
    """
    if source.spec.kind == "image":
        return ["frechet", "kernel", "precision", "recall", "density", "coverage"]
    counted = getattr(source, "centres", None) is not None
    counts = math.prod(source.spec.shape) <= MOST_COORDINATES
    return [
        *["js"] * counts,
        *["sliced-wasserstein", "precision", "recall"],
        *["modes-covered", "high-quality", "reverse-kl"] * counted,
    ]


def most_rows(source: Source, split: str) -> int:
    """Most samples a side such that as many other reals are left for the floor: the training rows beside a test
    reference, else further rows of the same split."""
    rows = len(source.split(split))
    return min(rows, len(source.split("train"))) if split == "test" else rows // 2


def build_extractor(spec: Spec | str, source: Source) -> Extractor:
    """The extractor `spec` describes, for samples of `source`. Raises `UsageError` if it cannot read them."""
    spec = parse(spec, "extractor") if isinstance(spec, str) else spec
    part = EXTRACTORS.get(spec.name, "extractor")
    context = source if getattr(part, "wants_source", False) else source.spec.shape
    return EXTRACTORS.build(spec, context, where="extractor")
