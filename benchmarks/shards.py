"""Packed data at a size that does not fit every memory: what opening it costs, and how fast random rows come.

The rows are written as noise once (about 1 GiB for the default) into a temporary directory; opening and reading happen
in a process of their own, with the pages in the system's cache as they are after the writing.

    python benchmarks/shards.py [--n 1000000] [--side 32] [--batch 64] [--seconds 5] [--dir DIR]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from gannet.core.registry import SOURCES
from gannet.core.types import Batch, DataSpec, Field, Source
from gannet.data.pack import pack

OPEN_SECONDS, ANONYMOUS_MIB = 1.0, 300


@SOURCES.register("benchmark-noise")
class Noise(Source):
    """Grey noise with labels, made when it is asked for: `n` training rows and a hundredth of that to test on."""

    def __init__(self, *, n: int, side: int):
        self.spec = DataSpec({"x": Field((1, side, side))}, 10, tuple("0123456789"))
        self.n = n

    def split(self, name: str) -> NoiseSplit:
        return NoiseSplit(self.n if name == "train" else max(1, self.n // 100), self.spec.shape)

    def fingerprint(self) -> str:
        return "0" * 16


class NoiseSplit:
    """Rows that are windows of one page of noise, which costs nothing to make."""

    def __init__(self, rows: int, shape: tuple[int, ...]):
        self.rows, self.shape = rows, shape
        generator = torch.Generator().manual_seed(0)
        self.page = torch.randint(256, (8192 + shape[1] * shape[2],), generator=generator).float() / 127.5 - 1

    def __len__(self) -> int:
        return self.rows

    def take(self, indices: torch.Tensor) -> Batch:
        windows = self.page.unfold(0, self.shape[1] * self.shape[2], 1)
        return {"x": windows[indices * 31 % 8192].view(-1, *self.shape), "y": indices % 10}


def read(path: str, batch: int, seconds: float) -> None:
    """Open, then gather random batches for `seconds`, and print what both took."""
    SOURCES.names()  # importing is not opening
    torch.set_num_threads(1)
    before = anonymous()
    began = time.perf_counter()
    source = SOURCES.build(f'shards("{path}")')
    opened = time.perf_counter() - began
    split = source.split("train")
    grown, generator = anonymous() - before, torch.Generator().manual_seed(1)
    rows, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows += len(split.take(torch.randint(len(split), (batch,), generator=generator))["x"])
    rate = rows / (time.perf_counter() - began)
    print(f"rows       {len(split):,} of {'×'.join(map(str, source.spec.shape))}")
    print(f"open       {opened:.3f} s  {_verdict(opened < OPEN_SECONDS)} (under {OPEN_SECONDS:g} s)")
    print(f"anonymous  {grown:.1f} MiB more  {_verdict(grown <= ANONYMOUS_MIB)} (at most {ANONYMOUS_MIB})")
    print(f"reading    {rate:,.0f} rows/s in random batches of {batch}, one thread")
    print(f"afterwards {anonymous() - before:.1f} MiB more than before opening")


def anonymous() -> float:
    """Anonymous memory of this process in MiB: what mapped files are not part of."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no anonymous memory in smaps_rollup")


def _verdict(met: bool) -> str:
    return "MET" if met else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--dir", help="where to write; the system's temporary directory if left out")
    parser.add_argument("--read", metavar="PATH", help="only open and read what is there")
    args = parser.parse_args()
    if args.read:
        read(args.read, args.batch, args.seconds)
        return
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        began = time.perf_counter()
        done = pack(f"benchmark-noise(n={args.n}, side={args.side})", Path(folder) / "noise")
        print(f"packed     {time.perf_counter() - began:.1f} s; {done.told().partition('. Train')[0]}")
        own = ["--read", str(done.path), "--batch", str(args.batch), "--seconds", str(args.seconds)]
        subprocess.run([sys.executable, __file__, *own], check=True)


if __name__ == "__main__":
    main()
