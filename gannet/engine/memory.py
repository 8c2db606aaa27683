"""Memory that a step frees is kept for the next step instead of being given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

TRIM, TOP_PAD, MMAP = -1, -2, -3
"""Parameters of glibc's `mallopt`, from its `malloc.h`."""
SMALL, LARGE = 128 << 10, 32 << 20
"""glibc's own threshold for blocks that come and go by themselves, and the largest that it accepts."""


def keep_freed_memory() -> None:
    """Tell the C library to keep freed memory; does nothing where it is not glibc.

    At its defaults every step returns tens of megabytes and asks for them anew, thousands of page faults and some
    7 % of the step of a small network. What the process holds at most does not change. Blocks over 32 MiB still come
    and go by themselves.
    """
    _set(MMAP, LARGE)
    _set(TRIM, (1 << 31) - 1)
    _set(TOP_PAD, 64 << 20)


@contextlib.contextmanager
def passing() -> Iterator[None]:
    """Inside, large blocks come and go by themselves: a picture or a score every few minutes must not leave its
    buffers scattered through the memory that steps are served from, which would grow by them."""
    _set(MMAP, SMALL)
    try:
        yield
    finally:
        _set(MMAP, LARGE)


def _set(parameter: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(parameter, value)
