"""A look at data before training: every sample is read once, and nothing is written.

It goes through the code that training goes through, so what it finds refused, training refuses in the same words.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from gannet.core.errors import DataError, ResourceError
from gannet.core.registry import SOURCES
from gannet.core.spec import Spec
from gannet.data.folder import ImageFiles, check_memory
from gannet.data.images import Header, decode
from gannet.data.index import SPLITS
from gannet.data.layout import Layout, check_share, common
from gannet.data.listing import shown
from gannet.data.report import Duplicates, Report
from gannet.data.rows import rows_of, source_spec
from gannet.data.survey import Survey

CHUNK = 1024
EXAMPLES = 5


def inspect(source: str, options: Mapping[str, Any] | None = None, near: bool = False) -> Report:
    """Look at `source`, what stands after `data=`, with further `options` of it: counts, sizes, balance, copies, what
    cannot be read, what training would do, and what is suspicious. `near` also counts images that look alike.

    Raises `DataError` where there is nothing to look at, `UsageError` for a source or an option that does not exist.
    """
    spec = source_spec(source, options)
    part, arguments = SOURCES.get(spec.name), SOURCES.resolve(spec)
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        report = _of_files(spec, part, arguments, near) if issubclass(part, ImageFiles) else _of_rows(spec, arguments)
    report.seconds = round(time.monotonic() - began, 3)
    report.warnings += [str(warning.message) for warning in said]
    report.conclude()
    return report


# -------------------------------------------------------------------------------------------------------- image files


@dataclass(frozen=True)
class Look:
    """What decoding one image file tells: hashes of its bytes, its pixels and its look; whether it is one colour."""

    content: bytes
    pixels: bytes
    alike: bytes
    constant: bool


def look(file: BinaryIO, near: bool = False) -> Look:
    """Decode one image file. Raises `BadImage`."""
    content = file.read()
    pixels = decode(io.BytesIO(content), 4, None, "center")
    flat = pixels.reshape(-1, 4)
    return Look(
        _hash(content),
        _hash(repr(pixels.shape).encode() + pixels.tobytes()),
        _gradients(pixels) if near else b"",
        bool((flat == flat[0]).all()),
    )


def _of_files(spec: Spec, part: type[ImageFiles], arguments: dict[str, Any], near: bool) -> Report:
    arguments.pop("flip")
    path, test, on_bad = (arguments.pop(key) for key in ("path", "test", "on_bad"))
    check_share(test)
    files = part.listing(path)
    report = Report(str(spec), "images", others=dict(files.others.most_common()))
    refusals = []
    try:
        found = part.layout(files, test)
    except DataError as error:
        refusals = [str(error)]
        found = Layout(files.images, [], {}, [])
    survey = Survey(files, found, on_bad="skip", **arguments)
    copies = _Copies()
    for split, names in survey.splits.items():
        for name, seen in survey.each("looking", names, lambda file: look(file, near)):
            copies.add(split, name, seen.pixels, seen.content, seen.alike if near else None)
            if seen.constant:
                report.constant.append(name)
        # A name that was found unreadable only now is none of training's.
        survey.splits[split] = [name for name in names if name not in survey.bad]
    headers = {name: survey.headers[name] for names in survey.splits.values() for name in names}
    report.splits = {split: len(names) for split, names in survey.splits.items()}
    report.sizes = _by_count(f"{header.height}×{header.width}" for header in headers.values())
    report.modes = _by_count(header.mode for header in headers.values())
    if survey.names:
        counts = {split: Counter(survey.classes[name] for name in names) for split, names in survey.splits.items()}
        report.classes = {split: {name: count[name] for name in survey.names} for split, count in counts.items()}
    report.unreadable, report.duplicates = survey.bad, copies.found
    with contextlib.suppress(DataError):  # without a shape, nothing can be said of what it takes
        report.shape = survey.shape
        report.training = _by_count(action for h in headers.values() for action in _actions(h, survey))
        report.memory = len(headers) * math.prod(survey.shape)
    if survey.bad:
        report.training["left out"] = len(survey.bad)
    base = common(files.images) if files.images and not survey.names else ""
    if base.rstrip("/") in files.folders:
        report.warnings.append(f"all images lie in {shown(base)}, and one folder makes no class.")
    survey.on_bad = on_bad
    report.refused = "\n".join(refusals or _refusals(survey)) or None
    return report


def _refusals(survey: Survey) -> list[str]:
    """What training would say to these files, were it started."""
    said = []
    for check in (survey.judge, lambda: survey.shape, survey.check_splits, lambda: check_memory(survey)):
        try:
            check()
        except (DataError, ResourceError) as error:
            said.append(str(error))
    return list(dict.fromkeys(said))


def _actions(header: Header, survey: Survey) -> list[str]:
    """What training does with one image, in words."""
    channels, height, _ = survey.shape
    found = []
    if survey.size is not None and header.height != header.width:
        found.append({"center": "cut to squares", "pad": "padded to squares", "stretch": "stretched"}[survey.crop])
    if survey.size is not None:
        side = (max if survey.crop == "pad" else min)(header.height, header.width)
        found += ["made smaller"] * (side > height) + ["enlarged"] * (side < height)
    found += ["composited on white"] * (header.transparent and channels != 4)
    found += ["scaled from 16 to 8 bits"] * header.deep
    found += ["turned as EXIF says"] * header.rotated
    found += ["first frame only"] * header.animated
    found += ["made grey"] * (header.colour and channels == 1)
    found += ["grey in three channels"] * (not header.colour and channels >= 3)
    return found or ["kept as they are"]


def _gradients(pixels: np.ndarray) -> bytes:
    """64 bits that stay the same when an image is scaled or compressed: where its grey rises from left to right."""
    grey = Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(grey).astype(int)
    return np.packbits(values[:, 1:] > values[:, :-1]).tobytes()


# ------------------------------------------------------------------------------------------------------- other sources


def _of_rows(spec: Spec, arguments: dict[str, Any]) -> Report:
    if "verify" in arguments:  # whoever looks at packed data wants all of it checked
        spec = spec.with_arg("verify", True)
    rows = rows_of(spec)
    field_ = rows.spec.x
    report = Report(str(spec), "rows of images" if field_.kind == "image" else field_.kind, dict(rows.planned))
    report.training = {"standardises column by column": rows.planned["train"]} if field_.units else {}
    copies, counts = _Copies(), {split: Counter[int]() for split in SPLITS}
    bar = tqdm(total=sum(rows.planned.values()), desc="looking", unit=" rows", delay=2, leave=False, disable=None)
    with bar:
        for split in SPLITS:
            for start in range(0, rows.planned[split], CHUNK):
                chunk = rows.read(split, start, min(start + CHUNK, rows.planned[split]))
                flat = np.ascontiguousarray(chunk["x"]).reshape(len(chunk["x"]), -1)
                for number, row in enumerate(flat, start):
                    copies.add(split, f"{split}[{number}]", _hash(row.tobytes()))
                if field_.kind == "image":
                    flats = np.flatnonzero(flat.min(1) == flat.max(1))
                    report.constant += [f"{split}[{start + number}]" for number in flats]
                if "y" in chunk:
                    counts[split].update(chunk["y"].tolist())
                bar.update(len(flat))
    if rows.spec.classes:
        report.classes = {s: {name: counts[s][k] for k, name in enumerate(rows.spec.names)} for s in SPLITS}
    report.shape, report.duplicates = rows.spec.shape, copies.found
    total = sum(rows.planned.values())
    report.sizes = {"×".join(map(str, rows.spec.shape)): total}
    report.modes = {rows.dtypes["x"]: total}
    report.memory = total * math.prod(rows.spec.shape) * np.dtype(rows.dtypes["x"]).itemsize
    return report


# -------------------------------------------------------------------------------------------------------------- copies


@dataclass
class _Copies:
    """Samples that were seen before, by hashes of sixteen bytes."""

    found: Duplicates = field(default_factory=Duplicates)
    pixels: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    contents: set[bytes] = field(default_factory=set)
    looks: set[bytes] = field(default_factory=set)

    def add(
        self, split: str, name: str, pixels: bytes, content: bytes | None = None, alike: bytes | None = None
    ) -> None:
        """Take in one sample; `content` is the hash of its file, where it has one of its own."""
        content = pixels if content is None else content
        first, where = self.pixels.setdefault(pixels, (name, split))
        if first != name:
            self.found.pixels += 1
            self.found.leaked += split == "test" and where == "train"
            if len(self.found.examples) < EXAMPLES:
                self.found.examples.append((first, name))
        self.found.bytes += content in self.contents
        self.contents.add(content)
        if alike is not None:
            self.found.alike = (self.found.alike or 0) + (alike in self.looks)
            self.looks.add(alike)


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _by_count(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())
