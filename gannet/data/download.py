"""Where data files come from: the folder in $GANNET_DATA, else a checked download kept in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from gannet.core.errors import DataError


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
    # Imported late: it brings an HTTP stack that most commands never need.
    import pooch

    cache = Path(pooch.os_cache("gannet"))
    target = cache / name
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
