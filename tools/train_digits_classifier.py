"""Train the classifier whose features score generated digits, and write its weights and card.

    OMP_NUM_THREADS=1 python tools/train_digits_classifier.py

Trained on the training split of the embedded digits with small shifts, on one thread from a fixed seed: about ten
seconds. The card records accuracy, the hash of the weights, the fingerprint of the data and this command. Another build
of PyTorch may round differently, give other weights, and so another hash: numbers taken with them do not compare.
"""

from __future__ import annotations

import hashlib
import json

import safetensors.torch
import torch
from torch import Tensor, nn

from gannet.core.registry import SOURCES
from gannet.metrics.features import WEIGHTS, DigitsNetwork

SEED, EPOCHS, BATCH, RATE, SHIFT = 0, 40, 50, 3e-3, 1


def shifted(x: Tensor) -> Tensor:
    """Each `[1, 8, 8]` digit moved by up to `SHIFT` pixels each way, background (−1) coming in."""
    wide = nn.functional.pad(x, [SHIFT] * 4, value=-1.0)
    dy, dx = torch.randint(2 * SHIFT + 1, (2, len(x), 1, 1))
    side = torch.arange(8)
    return wide[torch.arange(len(x)).view(-1, 1, 1), 0, dy + side.view(1, 8, 1), dx + side.view(1, 1, 8)].unsqueeze(1)


def accuracy(network: DigitsNetwork, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float((network.head(network(x)).argmax(1) == y).double().mean())


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    source = SOURCES.build("digits")
    train, test = (split.take(torch.arange(len(split))) for split in map(source.split, ("train", "test")))
    network = DigitsNetwork()
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.05)
    steps = EPOCHS * (len(train["x"]) // BATCH)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        if step % (len(train["x"]) // BATCH) == 0:
            order = torch.randperm(len(train["x"])).view(-1, BATCH)
        rows = order[step % len(order)]
        # Smoothing keeps the features from growing without bound once every training digit is right.
        loss = nn.functional.cross_entropy(
            network.head(network(shifted(train["x"][rows]))), train["y"][rows], label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()

    path = WEIGHTS / "digits-classifier.safetensors"
    path.write_bytes(safetensors.torch.save(network.state_dict()))
    card = {
        "name": "digits-classifier",
        "input": "[B, 1, 8, 8] in [-1, 1]",
        "features": 64,
        "classes": 10,
        "trained_on": "digits:train",
        "data_fingerprint": source.fingerprint(),
        "train_rows": len(train["x"]),
        "test_rows": len(test["x"]),
        "train_accuracy": accuracy(network, train["x"], train["y"]),
        "test_accuracy": accuracy(network, test["x"], test["y"]),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seed": SEED,
        "torch": torch.__version__,
        "command": "OMP_NUM_THREADS=1 python tools/train_digits_classifier.py",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


if __name__ == "__main__":
    main()
