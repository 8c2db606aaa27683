"""Where data files come from: the folder in $GANNET_DATA, else a checked download kept in the user's cache."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from gannet.core.errors import DataError

_local: ContextVar[bool] = ContextVar("local", default=False)


@contextlib.contextmanager
def only_local() -> Iterator[None]:
    """While this lasts nothing is downloaded: a file that is not here is an error, which says how to get it."""
    before = _local.set(True)
    try:
        yield
    finally:
        _local.reset(before)


def data_home() -> Path | None:
    """The folder of data files: $GANNET_DATA, else `../shared/data` where that exists, else none.

    Raises `DataError` if $GANNET_DATA names something that is not a folder.
    """
    named = os.environ.get("GANNET_DATA")
    if named:
        home = Path(named).expanduser()
        if not home.is_dir():
            raise DataError(f"GANNET_DATA={named} is not a folder. Point it at one, or unset it to use downloads.")
        return home
    beside = Path("../shared/data")
    return beside if beside.is_dir() else None


def fetch(name: str, url: str, sha256: str) -> Path:
    """The file `name` (such as `mnist/train.gz`): from the data folder, from the cache, or downloaded once.

    A download is shown with a progress bar, checked against `sha256` and moved into place in one step, so a broken one
    is never seen. Raises `DataError` with the address and the place to put the file by hand.
    """
    home = data_home()
    if home is not None and (home / name).is_file():
        return home / name
    target = cache_home() / name
    if _local.get() and not target.is_file():
        raise DataError(f"{name} is not here, and nothing is downloaded for a look: `gannet data inspect` fetches it.")
    # Imported late: it brings an HTTP stack that most commands never need.
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
        pooch.retrieve(url, f"sha256:{sha256}", target.name, target.parent, downloader=downloader)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name} is not here and could not be downloaded from {url} ({type(error).__name__}: {str(error)[:200]}).\n"
            f"Without a network, put the file at {target}, or in a folder of data files as "
            f"<folder>/{name} and set GANNET_DATA=<folder>. Its SHA-256 must be {sha256}."
        ) from None
    return target


def placed(name: str, about: str) -> Path:
    """The file `name` from the data folder or the cache, for a set that has no address to be downloaded from.

    Raises `DataError` with the places to put it and `about`, which says how it is laid out.
    """
    home = data_home()
    if home is not None and (home / name).is_file():
        return home / name
    target = cache_home() / name
    if target.is_file():
        return target
    looked = f"{target} and {home / name}" if home is not None else str(target)
    raise DataError(
        f"{name} is not here and is not downloaded. {about}\n"
        f"Looked for {looked}. Put it in a folder of data files as <folder>/{name} and set GANNET_DATA=<folder>."
    )


def cache_home() -> Path:
    """The user's cache of downloads and of what was computed from them; it may not exist yet."""
    # Imported late: it brings an HTTP stack that most commands never need.
    import pooch

    return Path(pooch.os_cache("gannet"))
