"""What the places and names of image files say: which are for training, which for testing, and of what class."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass

from gannet.core.errors import DataError, UsageError
from gannet.data.listing import LABELS, Listing, shown

TEST_NAMES = ("test", "val", "valid", "validation")
FIRST = 5


@dataclass(frozen=True)
class Layout:
    """Image names of both splits, each in the order of a hash of the name; the class of every image where there are
    classes; the class names in order."""

    train: list[str]
    test: list[str]
    classes: dict[str, str]
    names: list[str]


def layout(files: Listing, share: float) -> Layout:
    """Read the layout of `files`, holding out `share` of the images where no folder is meant for testing.

    Folders that hold every image are passed through. Raises `DataError` for no images, for labels that are missing or
    malformed, and for images beside the folders that should hold them.
    """
    if not files.images:
        raise DataError(f"{files.path} {_instead(files)}")
    base = "" if LABELS in files.labels else common(files.images)
    paths = {name: name[len(base) :].split("/") for name in in_order(files.images, len(base))}
    held_out = _test_folder(files, paths)
    if held_out:
        train, test = ([n for n, parts in paths.items() if parts[0] == top] for top in ("train", held_out))
    else:
        train, test = hold_out(files, list(paths), share)
    used = {name: paths[name] for name in (*train, *test)}
    if base + LABELS in files.labels:
        numbers = _labels_of(files, base + LABELS, {name: "/".join(parts) for name, parts in used.items()})
        classes = {name: str(number) for name, number in numbers.items()}
        return Layout(train, test, classes, [str(number) for number in sorted(set(numbers.values()))])
    classes = _class_folders(files, base, used, 1 if held_out else 0)
    unseen = sorted(set(classes.values()) - {classes[name] for name in train if classes})
    if held_out and unseen:
        few = ", ".join(map(shown, unseen[:FIRST]))
        raise DataError(f"{files.path}: {held_out}/ has classes that train/ does not have: {few}.")
    return Layout(train, test, classes, sorted(set(classes.values())))


def _instead(files: Listing) -> str:
    if files.refused:
        name, why = next(iter(files.refused.items()))
        return f"holds {len(files.refused):,} files that are not read and no others, first {shown(name)}: {why}."
    if files.others:
        found = ", ".join(f"{count:,} × {suffix}" for suffix, count in files.others.most_common(FIRST))
        tars = f' Tar shards are read with: data="tars({files.path})".' if files.others[".tar"] else ""
        return f"holds no images (.png .jpg .webp .bmp .gif .tif), but {found}.{tars}"
    return "holds no files; put images (.png .jpg .webp .bmp .gif .tif) there."


def common(names: list[str]) -> str:
    """The folders that every name starts with; ends with `/` unless empty."""
    common = os.path.commonpath([os.path.dirname("/" + name) for name in names]).strip("/")
    return common + "/" if common else ""


def check_share(test: float) -> None:
    """`UsageError` unless `test` is a share that can be held out."""
    if not 0 < test < 1:
        raise UsageError(f"test={test} is not a share; use a number between 0 and 1, such as 0.1.")


def in_order(names: list[str], skip: int = 0) -> list[str]:
    """`names` in the order of a hash of each, without its first `skip` letters: shuffled, and the same everywhere."""

    def key(name: str) -> bytes:
        return hashlib.blake2b(name[skip:].encode("utf-8", "surrogateescape"), digest_size=8).digest()

    return sorted(names, key=key)


def hold_out(files: Listing, names: list[str], share: float) -> tuple[list[str], list[str]]:
    """Training and test names: the first `share` of `names`, at least one, is held out."""
    held = min(len(names) - 1, max(1, round(share * len(names))))
    if not held:
        raise DataError(f"{files.path} holds 1 image; at least 2 are needed, one of them to hold out.")
    return names[held:], names[:held]


def _test_folder(files: Listing, paths: dict[str, list[str]]) -> str | None:
    """The name of the folder for testing that stands beside `train/`, `None` unless both are there."""
    tops = {parts[0] for parts in paths.values() if len(parts) > 1}
    found = next((name for name in TEST_NAMES if name in tops), None)
    if "train" not in tops or not found:
        return None
    beside = [name for name, parts in paths.items() if parts[0] not in ("train", *TEST_NAMES)]
    if beside:
        raise DataError(
            f"{files.path}: {len(beside):,} images lie beside train/ and {found}/, first {shown(beside[0])}."
        )
    return found


def _class_folders(files: Listing, base: str, paths: dict[str, list[str]], depth: int) -> dict[str, str]:
    """The folder at `depth` of every image; empty if there are no folders, or only one, which tells nothing apart."""
    loose = [name for name, parts in paths.items() if len(parts) < depth + 2]
    if len(loose) == len(paths):
        return {}
    if loose:
        raise DataError(
            f"{files.path}: {len(loose):,} images lie beside the class folders and have no label, first "
            f"{shown(loose[0])}. Move them into a class folder, or all images into one."
        )
    classes = {name: parts[depth] for name, parts in paths.items()}
    inside = [folder[len(base) :].split("/") for folder in files.folders if folder.startswith(base)]
    empty = sorted({parts[depth] for parts in inside if len(parts) == depth + 1} - set(classes.values()))
    if empty:
        warnings.warn(f"{files.path}: folders without images make no class: {', '.join(map(shown, empty[:FIRST]))}.")
    return classes if len(set(classes.values())) > 1 else {}


def _labels_of(files: Listing, name: str, wanted: dict[str, str]) -> dict[str, int]:
    """The class number of every wanted image from `{"labels": [["name", number], …]}`; empty for `null`."""
    where = f"{files.path}: {name}"
    try:
        with files.open(name) as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where} is not readable JSON ({error}).") from None
    rows = content.get("labels", ()) if isinstance(content, dict) else ()
    if rows is None:
        return {}
    if not isinstance(rows, list):
        raise DataError(f'{where} has no list of labels; it must hold {{"labels": [["image.png", 0], …]}}.')
    found: dict[str, int] = {}
    for index, row in enumerate(rows):
        match row:
            case [str(image), int(number)] if number >= 0 and not isinstance(number, bool) and image not in found:
                found[image] = number
            case _:
                raise DataError(
                    f"{where}: entry {index} is {json.dumps(row)[:80]}; it must be a new name and a whole "
                    f'number from 0, as in ["image.png", 0].'
                )
    missing = [image for image in wanted.values() if image not in found]
    if missing:
        raise DataError(f"{where}: {len(missing):,} images have no label, first {shown(missing[0])}.")
    return {image: found[rest] for image, rest in wanted.items()}
