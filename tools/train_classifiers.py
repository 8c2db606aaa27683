"""Train the classifiers whose features score generated digits, and write their weights and cards.

    OMP_NUM_THREADS=1 python tools/train_classifiers.py digits
    OMP_NUM_THREADS=1 python tools/train_classifiers.py mnist

Trained on the training split with small shifts, on one thread from a fixed seed: about ten seconds for the embedded
digits, four minutes for MNIST. A card records accuracy, the hash of the weights, the fingerprint of the data and the
command. Another build of PyTorch may round differently, give other weights, and so another hash: numbers taken with
them do not compare.
"""

from __future__ import annotations

import hashlib
import json
import sys

import safetensors.torch
import torch

from gannet.core.registry import SOURCES
from gannet.metrics.classifiers import WEIGHTS
from gannet.metrics.fitting import FEATURES, DigitsNetwork, ImageNetwork, Recipe, accuracy, fit

RECIPES = {
    "digits": Recipe(samples=60_000, batch=50, rate=3e-3, shift=1),
    "mnist": Recipe(samples=600_000, batch=125, rate=2e-3, shift=2),
}


def main(name: str) -> None:
    source, recipe = SOURCES.build(name), RECIPES[name]
    train, test = source.split("train"), source.split("test")
    shape = source.spec.shape
    network = fit(DigitsNetwork if name == "digits" else lambda: ImageNetwork(shape, 10), train, recipe)
    content = safetensors.torch.save(network.state_dict())
    card = {
        "name": f"{name}-classifier",
        "input": f"[B, {', '.join(map(str, shape))}] in [-1, 1]",
        "features": FEATURES,
        "classes": 10,
        "trained_on": f"{name}:train",
        "data_fingerprint": source.fingerprint(),
        "train_rows": len(train),
        "test_rows": len(test),
        "train_accuracy": accuracy(network, train),
        "test_accuracy": accuracy(network, test),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seed": recipe.seed,
        "torch": torch.__version__,
        "command": f"OMP_NUM_THREADS=1 python tools/train_classifiers.py {name}",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    path = WEIGHTS / f"{name}-classifier.safetensors"
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
