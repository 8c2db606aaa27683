"""Classifiers as extractors: the last 64 features before the classes, and the class probabilities.

Two ship with the package, for the embedded digits and for MNIST; any other labelled source trains its own. Weights are
a safetensors file with a card (`.json`) beside it, which says what data they are for and their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gannet.core.errors import CheckpointError, UsageError
from gannet.core.parts import Extractor
from gannet.core.registry import EXTRACTORS
from gannet.core.tensorfile import put
from gannet.core.types import DataSpec, Source
from gannet.metrics.features import shape_text, size_text
from gannet.metrics.fitting import FEATURES, DigitsNetwork, ImageNetwork, Network, PointsNetwork, Recipe, accuracy, fit

WEIGHTS = Path(__file__).parent / "weights"
REINSTALL = "Install Gannet again."
Card = dict[str, Any]


# ------------------------------------------------------------------------------------------------------- shipped


class _Network(Extractor):
    """Features and class probabilities of a classifier, whose features are what comes before its last layer."""

    network: Any

    def features(self, x: Tensor) -> Tensor:
        return self.network(x)

    def probabilities(self, x: Tensor) -> Tensor:
        return self.network.logits(x).softmax(1)


@EXTRACTORS.register("digits-classifier")
class DigitsClassifier(_Network):
    """The 64 last features, and the class probabilities, of a small classifier trained on the embedded 8×8 digits.

    Its weights ship with the package, beside a card with their SHA-256, accuracy and the command that made them.
    Raises `UsageError` for samples of another shape, `CheckpointError` if the shipped file is missing or damaged.
    """

    name = "digits-classifier"
    suits: ClassVar[tuple[str, ...]] = ("digits",)

    def __init__(self, shape: tuple[int, ...]):
        if tuple(shape) != (1, 8, 8):
            raise UsageError(
                f"digits-classifier reads 1×8×8 digits, the samples are {shape_text(shape)}. "
                f"Use random-conv for other images, pixels for points."
            )
        content, card = load_checked(WEIGHTS / "digits-classifier.safetensors", REINSTALL)
        self.sha256 = card["sha256"]
        self.network = filled(DigitsNetwork(), content, "digits-classifier", REINSTALL)

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},8x8"


@EXTRACTORS.register("mnist-classifier")
class MnistClassifier(Extractor):
    """The 64 last features, and the class probabilities, of a small classifier trained on MNIST's 28×28 digits.

    Larger canvases, into which `size=` pads the digits, are cut to their middle 28×28. Of three channels (a digit each:
    stacked MNIST) features are set side by side, `[B, 192]`, and probabilities are those of the three digits together,
    `[B, 1000]` with class 100·first + 10·second + third. Raises `UsageError` for other shapes, `CheckpointError` if the
    shipped file is missing or damaged.
    """

    name = "mnist-classifier"
    suits: ClassVar[tuple[str, ...]] = ("mnist", "stacked-mnist")
    SIDE = 28

    def __init__(self, shape: tuple[int, ...]):
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape[1:]) < self.SIDE:
            raise UsageError(
                f"mnist-classifier reads 28×28 digits in 1 channel, or 3 stacked ones, on a canvas of 28×28 or more; "
                f"the samples are {shape_text(shape)}. Use random-conv for other images, pixels for points."
            )
        content, card = load_checked(WEIGHTS / "mnist-classifier.safetensors", REINSTALL)
        self.shape = tuple(shape)
        self.sha256 = card["sha256"]
        self.network = filled(ImageNetwork((1, self.SIDE, self.SIDE), 10), content, "mnist-classifier", REINSTALL)

    def features(self, x: Tensor) -> Tensor:
        return self.network(self._digits(x)).view(len(x), -1)

    def probabilities(self, x: Tensor) -> Tensor:
        each = self.network.logits(self._digits(x)).softmax(1).view(len(x), -1, 10)
        together = each[:, 0]  # [B, 10]
        for digit in each.unbind(1)[1:]:
            together = (together.unsqueeze(2) * digit.unsqueeze(1)).flatten(1)
        return together

    def _digits(self, x: Tensor) -> Tensor:
        """Every channel as a row of its own, without the padding: `[B·C, 1, 28, 28]`."""
        top, left = ((n - self.SIDE) // 2 for n in x.shape[2:])
        return x[:, :, top : top + self.SIDE, left : left + self.SIDE].reshape(-1, 1, self.SIDE, self.SIDE)

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},{size_text(self.shape)}"


# ---------------------------------------------------------------------------------------------------- one's own


@EXTRACTORS.register("classifier")
class Classifier(_Network):
    """The 64 last features, and the class probabilities, of a small classifier trained on the source's own classes.

    `path` is a file made by `train_classifier`; without it, one is trained on the training rows at the first use (up to
    a minute or two, from a fixed seed) and kept in the user's cache for this data. Raises `UsageError` for data without
    labels, or of another shape or other classes than the file is for, `CheckpointError` for a file that is missing or
    damaged.
    """

    name = "classifier"
    wants_source: ClassVar[bool] = True

    def __init__(self, source: Source, *, path: str | None = None):
        self.shape = tuple(source.spec.shape)
        self.network, card = load_classifier(Path(path).expanduser() if path else _cached(source))
        _check_card(card, source.spec)
        self.sha256: str = card["sha256"]

    @property
    def protocol(self) -> str:
        return f"{self.name}@{self.sha256[:8]},{size_text(self.shape)}"


def train_classifier(source: Source, out: str | Path, *, recipe: Recipe | None = None) -> Card:
    """Train a classifier on the training rows of `source`, write it to `out` (`.safetensors`, its card beside it) and
    return the card: what it is for, its accuracy on both splits, the recipe and the SHA-256.

    The same data, recipe and build of PyTorch give the same bytes. Raises `UsageError` for data without labels or
    another suffix, `DivergedError` if training fails.
    """
    spec, out, recipe = source.spec, Path(out).expanduser(), recipe or Recipe()
    if spec.classes < 2:
        raise UsageError(
            f"a classifier needs labelled data of two classes or more, this has {spec.classes}. "
            f"Use random-conv or pca for images, pixels for points."
        )
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: a classifier is a .safetensors file; write to {out.with_suffix('.safetensors')}.")
    train, test = source.split("train"), source.split("test")
    network = fit(lambda: _network(spec.shape, spec.classes), train, recipe)
    content = safetensors.torch.save(network.state_dict())
    card: Card = {
        "shape": list(spec.shape),
        "classes": spec.classes,
        "names": list(spec.names),
        "features": FEATURES,
        "data_fingerprint": source.fingerprint(),
        "train_rows": len(train),
        "test_rows": len(test),
        "train_accuracy": accuracy(network, train),
        "test_accuracy": accuracy(network, test),
        "recipe": vars(recipe),
        "torch": torch.__version__,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    put(out, content)  # the card second: weights without one are not read
    put(out.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())
    return card


def load_classifier(path: Path) -> tuple[Network, Card]:
    """A network that `train_classifier` wrote, and its card. Raises `CheckpointError` for a missing or damaged file."""
    mend = "Make it again with train_classifier."
    content, card = load_checked(path, mend)
    shape, classes = card.get("shape"), card.get("classes")
    whole = [*shape, classes] if isinstance(shape, list) else [None]
    if not all(type(n) is int and n > 0 for n in whole) or not isinstance(card.get("names"), list):
        raise CheckpointError(f"{path.with_suffix('.json')} does not say the shape and classes of its data. {mend}")
    with torch.device("meta"):  # what a card asks for takes no memory until the weights agree with it
        network = _network(tuple(card["shape"]), card["classes"])
    return filled(network, content, str(path), mend), card


def _network(shape: tuple[int, ...], classes: int) -> Network:
    return ImageNetwork(shape, classes) if len(shape) == 3 else PointsNetwork(shape, classes)


def _cached(source: Source) -> Path:
    """The classifier kept for this data, trained now if there is none."""
    # Imported late: it brings an HTTP stack that most commands never need.
    import pooch

    path = Path(pooch.os_cache("gannet")) / "classifiers" / f"{source.fingerprint()}.safetensors"
    if not path.with_suffix(".json").is_file():
        rows = len(source.split("train")) if source.spec.classes > 1 else 0
        print(f"classifier: training one on {rows:,} labelled rows, kept as {path}", file=sys.stderr, flush=True)
        card = train_classifier(source, path)
        print(f"classifier: names {card['test_accuracy']:.1%} of the test rows", file=sys.stderr, flush=True)
    return path


def _check_card(card: Card, spec: DataSpec) -> None:
    if tuple(card["shape"]) != tuple(spec.shape):
        raise UsageError(
            f"the classifier is for samples of {shape_text(tuple(card['shape']))}, these are {shape_text(spec.shape)}."
        )
    if spec.classes and (card["classes"], card["names"]) != (spec.classes, list(spec.names)):
        raise UsageError(
            f"the classifier knows {card['classes']} classes ({', '.join(map(str, card['names'][:10]))}), the data has "
            f"{spec.classes} ({', '.join(spec.names[:10])}). Train one on this data: leave path= out."
        )


# ------------------------------------------------------------------------------------------------- reading files


def load_checked(path: Path, mend: str) -> tuple[dict[str, Tensor], Card]:
    """Weights from a safetensors file whose SHA-256 agrees with the card (`.json`) beside it, and that card.

    Raises `CheckpointError`, ending in how to `mend` it, for a file or card that is missing or damaged.
    """
    try:
        content = path.read_bytes()
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        expected = card["sha256"]
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise CheckpointError(f"{path}: SHA-256 {found[:16]}…, its card says {str(expected)[:16]}…. {mend}")
        return safetensors.torch.load(content), card
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise CheckpointError(f"{path} or its card cannot be read ({error}). {mend}") from None


def filled(network: Network, state: dict[str, Tensor], what: str, mend: str) -> Network:
    """`network` with the weights `state`, for use only. Raises `CheckpointError` if they are not its own or finite."""
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise CheckpointError(f"{what}: {bad[0]} is not finite. {mend}")
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{what}: the weights are not of this network ({str(error)[:300]}). {mend}") from None
    return network.eval().requires_grad_(False)
