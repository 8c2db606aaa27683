"""Spoken digits as pictures of their sound."""

from __future__ import annotations

import re
import wave
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gannet.core.errors import DataError, UsageError, unknown
from gannet.core.registry import SOURCES
from gannet.data.download import placed
from gannet.data.listing import Archive, shown
from gannet.data.memory import MemorySource
from gannet.data.spectrogram import LENGTH, RATE, spectrogram
from gannet.data.survey import UNREADABLE, reason

ARCHIVE = "free-spoken-digits.zip"
ABOUT = (
    "It is a zip of recordings/<digit>_<speaker>_<take>.wav, mono, 16 bits, 8 kHz: the Free Spoken Digit Dataset, "
    "https://github.com/Jakobovski/free-spoken-digit-dataset, whose own zip is read as it is."
)
NAME = re.compile(r"(?:[^/]+/)?recordings/(\d)_([A-Za-z]+)_(\d{1,4})\.wav")
TEST_TAKES = 5
MAX_SECONDS = 60
CHUNK = 256


@SOURCES.register("spoken-digits")
class SpokenDigits(MemorySource):
    """Recordings of ten spoken digits as 64×64 log-mel spectrograms (Free Spoken Digit Dataset; Jackson; CC BY-SA 4.0).

    Read from `$GANNET_DATA/free-spoken-digits.zip`. As the set itself rules, takes 0 … 4 of every digit and speaker are
    the test rows; the order goes round the digits and speakers, so that any `limit` holds as many of each. `speakers`
    keeps some voices. Recordings are put in the middle of 1.008 s, cut there, and brought to a peak of 1, since their
    loudness is the microphone's doing. `gannet.data.spectrogram` says how they become pictures in [−1, 1], kept in 256
    steps of 0.31 dB, and turns pictures into sound. y is the digit. Raises `DataError` naming the archive and the
    recording that cannot be used.
    """

    def __init__(
        self,
        *,
        speakers: tuple[str, ...] | None = None,
        limit: int | None = None,
        labels: tuple[int | str, ...] | None = None,
    ):
        files = Recordings(placed(ARCHIVE, ABOUT))
        kept = files.speakers if speakers is None else speakers
        for speaker in kept:
            if speaker not in files.speakers:
                raise UsageError(unknown("speaker", speaker, files.speakers, f"{files.path}"))
        if not kept:
            raise UsageError(f"speakers=[] keeps no voice; allowed: {', '.join(files.speakers)}.")
        takes = [key for key in sorted(files.takes) if key[2] in kept]
        train, test = (
            files.rows([key for key in takes if (key[0] < TEST_TAKES) == held_out]) for held_out in (False, True)
        )
        super().__init__(train, test, [str(digit) for digit in range(10)], labels, limit)


class Recordings(Archive):
    """The recordings of an archive: `takes` maps (take, digit, speaker) to names; `speakers` are sorted."""

    def __init__(self, path: Path):
        self.takes: dict[tuple[int, int, str], str] = {}
        super().__init__(path)
        if self.refused:
            name, why = next(iter(self.refused.items()))
            raise DataError(f"{path}: {shown(name)} is not read: {why}.")
        if not self.takes:
            raise DataError(f"{path} holds no recordings. {ABOUT}")
        self.speakers = sorted({speaker for _, _, speaker in self.takes})

    def _add(self, name: str) -> None:
        if not name.endswith(".wav") or name.startswith("__MACOSX/"):
            return
        match = NAME.fullmatch(name)
        if match is None:
            raise DataError(f"{self.path}: {shown(name)} is not recordings/<digit>_<speaker>_<take>.wav. {ABOUT}")
        key = (int(match[3]), int(match[1]), match[2])
        if key in self.takes:
            raise DataError(f"{self.path}: {shown(self.takes[key])} and {shown(name)} are the same take.")
        self.takes[key] = name

    def rows(self, keys: list[tuple[int, int, str]]) -> dict[str, Tensor]:
        """Spectrograms as uint8 `[N, 1, 64, 64]` and digits `[N]` of the takes `keys`."""
        pictures = []
        for start in range(0, len(keys), CHUNK):
            waves = torch.stack([self.wave(self.takes[key]) for key in keys[start : start + CHUNK]])
            pictures.append(((spectrogram(waves) + 1) * 127.5).round().byte())
        x = torch.cat(pictures) if pictures else torch.empty(0, 1, 64, 64, dtype=torch.uint8)
        return {"x": x, "y": torch.tensor([digit for _, digit, _ in keys], dtype=torch.int64)}

    def wave(self, name: str) -> Tensor:
        """The middle 1.008 s of the recording `name`, `[8064]` with a peak of 1, with silence around a shorter one."""
        try:
            with self.open(name) as file:
                sound = read_wave(file)
        except (*UNREADABLE, EOFError) as error:
            raise DataError(
                f"{self.path}: {shown(name)} cannot be read ({reason(error) or 'it ends too early'})."
            ) from None
        missing = LENGTH - len(sound)
        # Negative padding cuts: both ends lose the same.
        middle = F.pad(sound, (missing // 2, missing - missing // 2))
        return middle / middle.abs().max().clamp(min=1 / 32768)


def read_wave(file: BinaryIO) -> Tensor:
    """The samples `[N]` in [−1, 1) of a WAV file of one channel, 16 bits and 8 kHz. `ValueError` for any other."""
    try:
        with wave.open(file) as sound:
            found = (sound.getnchannels(), 8 * sound.getsampwidth(), sound.getframerate())
            if found != (1, 16, RATE):
                raise ValueError(f"{found[0]} channels, {found[1]} bits, {found[2]} Hz; wanted are 1, 16 and {RATE}")
            length = sound.getnframes()
            if not 0 < length <= MAX_SECONDS * RATE:
                raise ValueError(f"{length:,} samples; 1 … {MAX_SECONDS * RATE:,} are read")
            content = sound.readframes(length)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"damaged or not a WAV file: {str(error) or 'it ends too early'}") from None
    if len(content) != 2 * length:
        raise ValueError(f"{length:,} samples are promised, the file holds {len(content) // 2:,}")
    return torch.from_numpy(np.frombuffer(content, dtype="<i2").astype(np.float32) / 32768)
