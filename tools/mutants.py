"""Are the golden tests sharp? Breaks the losses in forty known ways, one at a time, and shows that each is caught.

Every mutant is one textual edit of a file in `gannet/losses`, applied to a temporary copy of the package; the golden
tests of that file must fail on the copy. The working tree is never touched. Exit code 1 if any mutant survives.

    python tools/mutants.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """`old` occurs exactly once in `gannet/losses/<file>.py` and becomes `new`."""

    file: str
    old: str
    new: str


TESTS = {
    "objectives": "objectives",
    "gradient_penalty": "penalties",
    "regularizers": "regularizers",
    "constraints": "constraints",
    "reconstruction": "reconstruction",
}

MUTANTS = [
    # Objectives: signs.
    Mutant("objectives", "softplus(-u) + self.smoothing * u", "softplus(u) + self.smoothing * u"),
    Mutant("objectives", "softplus(-u) + self.smoothing * u", "softplus(-u) - self.smoothing * u"),
    Mutant("objectives", "return -softplus(u)", "return softplus(u)"),
    Mutant("objectives", "return -self.discriminator(", "return self.discriminator("),
    Mutant("objectives", "return relu(1 - u)\n\n    def on_fake", "return relu(1 + u)\n\n    def on_fake"),
    Mutant("objectives", "return relu(1 + u)", "return relu(1 - u)"),
    Mutant("objectives", "return -u if self", "return u if self"),
    # Objectives: scales, targets, pairing.
    Mutant("objectives", "0.5 * (u - self.real)", "1.0 * (u - self.real)"),
    Mutant("objectives", "smoothed - fake, -margin,", "smoothed - fake, margin,"),
    Mutant("objectives", "0.25 * (self.real", "0.5 * (self.real"),
    Mutant("objectives", "return self.on_real(real - fake)", "return self.on_real(fake - real)"),
    Mutant("objectives", "self.on_generated(fake - real)", "self.on_generated(fake)"),
    Mutant("objectives", "gather_rows(scores).mean(0)", "gather_rows(scores).mean()"),
    Mutant("objectives", "self.on_fake(fake - average(real))", "self.on_fake(fake - average(real).detach())"),
    Mutant("objectives", "self.on_generated(average(fake) - real)", "self.on_generated(real - average(fake))"),
    # Gradient penalty: norms.
    Mutant("gradient_penalty", ".flatten(1).square().sum(1)", ".square().sum().expand(len(round.real))"),
    Mutant("gradient_penalty", ".flatten(1).square().sum(1)", ".square().sum(1)"),
    Mutant("gradient_penalty", ".flatten(1).square().sum(1)", ".flatten(1).square().mean(1)"),
    Mutant("gradient_penalty", "return 0.5 * square if", "return square if"),
    Mutant("gradient_penalty", "(safe_sqrt(square) - 1)", "(square - 1)"),
    Mutant("gradient_penalty", "(safe_sqrt(square) - 1)", "(square.sqrt() - 1)"),
    Mutant("gradient_penalty", "(safe_sqrt(square) - 1).square()", "-(safe_sqrt(square) - 1).square()"),
    # Gradient penalty: points, graph, estimates.
    Mutant("gradient_penalty", "points.x, create_graph=True)[0]", "points.x, create_graph=True)[0].detach()"),
    Mutant("gradient_penalty", "_of_rows(draw.uniform(*[1] * (x.dim() - 1)), x)", "draw.uniform(1)[0].to(x)"),
    Mutant("gradient_penalty", "draw.uniform(*[1] * (x.dim() - 1))", "draw.uniform(*x.shape[1:])"),
    Mutant("gradient_penalty", "(1 - mix) * round.fake.x", "mix * round.fake.x"),
    Mutant("gradient_penalty", "x + self.noise * _of_rows", "x + _of_rows"),
    Mutant("gradient_penalty", "points.x + self.sigma * n", "points.x - self.sigma * n + n"),
    Mutant("gradient_penalty", "judged.per_sample()[:k]) / self.sigma", "judged.per_sample()[:k])"),
    Mutant("gradient_penalty", "judged.per_sample()[:k]", "judged.per_sample()[:k].detach()"),
    # Other regularizers.
    Mutant("regularizers", "relu(real - self.fake)", "relu(real - self.real)"),
    Mutant("regularizers", "relu(self.real - fake)", "relu(fake - self.real)"),
    Mutant("regularizers", ".clamp_min(1 - self.decay)", ".clamp_min(self.decay)"),
    Mutant("regularizers", "(a - b).square().reshape(len(a), -1).mean(1)", "(a - b).abs().reshape(len(a), -1).mean(1)"),
    Mutant("regularizers", "(real + fake).square()", "(real - fake).square()"),
    Mutant(
        "regularizers",
        "(gather_rows(a).mean(0) - gather_rows(b).mean(0))",
        "(gather_rows(a).mean(-1) - gather_rows(b).mean(-1))",
    ),
    Mutant("regularizers", "latent, create_graph=True)", "latent, retain_graph=True)"),
    Mutant("regularizers", "math.sqrt(math.prod(x.shape[2:]))", "math.prod(x.shape[2:])"),
    Mutant("regularizers", "gram * (1 - identity)", "gram - identity"),
    Mutant("regularizers", "matrix @ matrix.T", "matrix.T @ matrix"),
    Mutant("regularizers", "0.5 * w.square().sum()", "w.square().sum()"),
    # Constraints and reconstruction.
    Mutant("constraints", "clamp_(-self.limit, self.limit)", "clamp_(max=self.limit)"),
    Mutant("constraints", "by_output.flatten(2).norm(dim=2)", "by_output.flatten(2).norm(dim=1, keepdim=True).mean(2)"),
    Mutant("constraints", ".transpose(1, 2)", ""),
    Mutant("reconstruction", "cross_entropy(logits, target", "cross_entropy(logits.softmax(1), target"),
    Mutant("reconstruction", "square * (-log_variance).exp()", "square * log_variance.exp()"),
    Mutant("reconstruction", "loss.reshape(len(loss), -1).mean(1)", "loss.reshape(len(loss), -1).sum(1)"),
]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("gannet", "tests/golden"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        survivors = [m for m in sound(copy) if not caught(m, copy)]
    print(f"{len(MUTANTS) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


def sound(copy: Path) -> list[Mutant]:
    """The list of mutants, once it is known that each can be made and that without them all tests pass on the copy."""
    origin = run(copy, "-c", "import gannet; print(gannet.__file__)").stdout.strip()
    if not Path(origin).is_relative_to(copy.resolve()):
        sys.exit(f"the tests would import {origin}, not the copy in {copy}")
    for mutant in MUTANTS:
        found = source(mutant, copy).read_text(encoding="utf-8").count(mutant.old)
        if found != 1:
            sys.exit(f"{mutant.file}: {mutant.old!r} occurs {found} times, not once; the list must follow the code")
    clean = tests(copy, *TESTS.values())
    if clean.returncode != 0:
        sys.exit(f"the golden tests fail without any mutant:\n{clean.stdout}")
    return MUTANTS


def caught(mutant: Mutant, copy: Path) -> bool:
    file = source(mutant, copy)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    found = tests(copy, TESTS[mutant.file])
    file.write_text(text, encoding="utf-8")
    # 1 says that tests ran and failed; anything else, that they could not be collected.
    if found.returncode not in (0, 1):
        sys.exit(f"{mutant}: pytest ended with {found.returncode}\n{found.stdout}")
    failed = found.returncode == 1
    old, new = (" ".join(t.split()) for t in (mutant.old, mutant.new))
    print(f"{'caught' if failed else 'SURVIVED':9}{mutant.file:17}{old}  →  {new or '(nothing)'}", flush=True)
    return failed


def source(mutant: Mutant, copy: Path) -> Path:
    return copy / "gannet" / "losses" / f"{mutant.file}.py"


def tests(copy: Path, *names: str) -> subprocess.CompletedProcess[str]:
    files = [f"tests/golden/test_{name}.py" for name in names]
    return run(copy, "-m", "pytest", "-o", "addopts=", "-x", "-q", "-p", "no:cacheprovider", *files)


def run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Compiled files are keyed by time and size, which an edit of equal length within a second does not change.
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # none is needed here, and importing them is a third of a short run
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
