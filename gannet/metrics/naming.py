"""What scores are called, and the first part of their protocol."""

from __future__ import annotations

from gannet.core.parts import Extractor, Metric
from gannet.core.registry import METRICS, SOURCES
from gannet.core.spec import Spec
from gannet.core.types import Source


def source_name(source: Source) -> str:
    """The name `source` is registered under, its class's name if it is not."""
    names = (name for name in SOURCES.names() if SOURCES.get(name) is type(source))
    return next(names, type(source).__name__)


def key(spec: Spec, metric: Metric, extractor: Extractor) -> str:
    """`precision(k=5)` as it was asked for; distances in features are named for the extractor, `fd[random-conv]`."""
    symbol = _symbol(metric, extractor)
    return f"{Spec(symbol, spec.positional, spec.args)}[{extractor.name}]" if symbol else str(spec)


def method(spec: Spec, metric: Metric, extractor: Extractor) -> str:
    """The metric with every option, and what it reads; the bracket stays open for what it is compared with."""
    shown = Spec(_symbol(metric, extractor) or spec.name, (), METRICS.resolve(spec))
    return f"{shown}[{'samples' if metric.reads == 'samples' else extractor.protocol}"


def _symbol(metric: Metric, extractor: Extractor) -> str | None:
    """The short name of a distance in features, which the extractor may have a name of its own for (FID)."""
    symbol: str | None = getattr(metric, "symbol", None)
    return None if symbol is None else getattr(extractor, "symbols", {}).get(symbol, symbol)
