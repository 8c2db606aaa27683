"""Recordings become pictures and pictures sound; archives that are not what they should be are named."""

import io
import struct
import wave
import zipfile

import numpy as np
import pytest
import torch

from gannet.core.errors import DataError, UsageError
from gannet.core.registry import SOURCES
from gannet.data.spectrogram import LENGTH, RATE, mel_bands, spectrogram, waveform
from gannet.data.spoken_digits import ARCHIVE, Recordings, read_wave

TIME = torch.arange(LENGTH) / RATE


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, width: int = 2) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(samples.astype("<i2").tobytes())
    return target.getvalue()


def tone(frequency: float, seconds: float = 0.5, level: float = 10_000) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def zipped(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def recordings(prefix: str = "recordings/") -> dict[str, bytes]:
    """Digits 0 and 7 of two speakers, takes 3 … 6, as tones of 300 and 1,000 Hz."""
    return {
        f"{prefix}{digit}_{speaker}_{take}.wav": wav(tone(hertz, level=level))
        for digit, hertz in ((0, 300), (7, 1000))
        for speaker, level in (("ann", 2_000), ("bob", 20_000))
        for take in (3, 4, 5, 6)
    }


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("GANNET_DATA", str(tmp_path))
    (tmp_path / ARCHIVE).write_bytes(zipped(recordings()))
    return tmp_path / ARCHIVE


def test_takes_below_five_are_the_test_rows(archive):
    source = SOURCES.build("spoken-digits(labels=[0, 7])")
    train, test = source.split("train"), source.split("test")
    assert (source.spec.shape, len(train), len(test)) == ((1, 64, 64), 8, 8)
    assert train.fields["y"].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]  # take by take, and in it digit by digit
    x = train.take(torch.arange(8))["x"]
    assert (x.min(), x.dtype) == (-1, torch.float32)
    low, high = x[0, 0, :, 32].argmax(), x[2, 0, :, 32].argmax()
    assert low > high  # frequency from the bottom up
    assert (x[0] - x[1])[x[1] > 0].abs().max() < 0.02  # loudness is taken out
    assert x[:, 0, :, :10].max() == x[:, 0, :, -10:].max() == -1  # silence around half a second
    ann = SOURCES.build("spoken-digits(labels=[7], speakers=[ann], limit=1)")
    assert (len(ann.split("train")), len(ann.split("test")), ann.spec.names) == (1, 2, ("7",))
    texts = ("(labels=[0, 7])", "(labels=[0])", "(labels=[0, 7], speakers=[bob])")
    assert len({SOURCES.build(f"spoken-digits{options}").fingerprint() for options in texts}) == 3


def test_the_sets_own_zip_has_a_folder_around(archive):
    archive.write_bytes(
        zipped({**recordings("fsdd-1.0/recordings/"), "fsdd-1.0/README.md": b"", "__MACOSX/a.wav": b""})
    )
    assert Recordings(archive).speakers == ["ann", "bob"]


def test_waves_are_put_in_the_middle_and_cut_there(archive):
    short, long = np.arange(1, 101) * 100, np.arange(1, 10_001)
    archive.write_bytes(zipped({"recordings/0_a_5.wav": wav(short), "recordings/0_a_6.wav": wav(long)}))
    files = Recordings(archive)
    padded, cut = (files.wave(f"recordings/0_a_{take}.wav") for take in (5, 6))
    assert padded.nonzero().flatten().tolist() == list(range(3982, 4082))
    torch.testing.assert_close(padded[4081], torch.tensor(1.0))
    torch.testing.assert_close(cut * 9032, torch.arange(969, 9033).float())


def test_a_sine_is_as_loud_as_it_is_in_the_band_of_its_pitch():
    bands = mel_bands()
    assert bands.shape == (64, 257)
    assert (bands > 0).any(1).all()
    for frequency in (250.0, 1000.0, 3000.0):
        sine = torch.sin(2 * torch.pi * frequency * TIME)
        loud, quiet, silent = spectrogram(torch.stack([sine / 10, sine / 100, 0 * sine]))[:, 0]
        band = int(loud[:, 32].argmax())
        mel = np.log10(1 + frequency / 700) / np.log10(1 + 4000 / 700) * 65 - 1
        assert abs((63 - band) - mel) <= 0.5
        assert abs(40 * loud[band, 32] - 20) < 1.5  # −20 dB lies 20 dB above the middle of −80 … 0
        torch.testing.assert_close(loud[band, 10:50] - quiet[band, 10:50], torch.full((40,), 0.5), atol=1e-3, rtol=0)
        assert (silent == -1).all()


def test_sound_made_of_a_spectrogram_has_that_spectrogram():
    envelope = torch.exp(-(((TIME - 0.5) / 0.15) ** 2))
    voice = sum(torch.sin(2 * torch.pi * k * (120 * TIME + 20 * TIME**2)) / k for k in range(1, 12))
    rise = torch.sin(2 * torch.pi * (500 * TIME + 600 * TIME**2))
    waves = torch.stack([0.4 * envelope * voice, 0.8 * envelope * rise])
    wanted = spectrogram(waves)
    found = waveform(wanted)
    assert found.shape == waves.shape
    error = (spectrogram(found) - wanted).abs() * 40  # dB
    assert error[wanted > -0.25].mean() < 1.5  # within 50 dB of full scale
    without = (spectrogram(waveform(wanted, steps=0)) - wanted).abs() * 40
    assert without[wanted > -0.25].mean() > 3
    assert torch.equal(found, waveform(wanted))
    assert waveform(-torch.ones(1, 1, 64, 64)).abs().max() == 0
    with pytest.raises(UsageError, match=r"\[B, 1, 64, 64\]"):
        waveform(torch.zeros(1, 3, 64, 64))


GOOD = wav(tone(300))
WRONG = {
    "no wav": (b"not a wave file at all, really", "damaged or not a WAV"),
    "empty": (b"", "ends too early"),
    "cut": (GOOD[:-100], "are promised|damaged"),
    "header only": (GOOD[:44], "are promised|damaged"),
    "no samples": (wav(np.zeros(0)), "0 samples"),
    "stereo": (wav(tone(300), channels=2), "2 channels"),
    "rate": (wav(tone(300), rate=44_100), "44100 Hz"),
    "width": (wav(tone(300), width=1), "8 bits"),
    "long": (wav(np.zeros(60 * RATE + 1)), "480,001 samples"),
    "lying": (GOOD[:40] + struct.pack("<I", 900_000) + GOOD[44:], "damaged|promised"),
}


@pytest.mark.parametrize("case", WRONG)
def test_recordings_that_cannot_be_used_are_named(archive, case):
    content, match = WRONG[case]
    with pytest.raises(ValueError, match=match):
        read_wave(io.BytesIO(content))
    archive.write_bytes(zipped({**recordings(), "recordings/3_bob_9.wav": content}))
    with pytest.raises(DataError, match=r"recordings/3_bob_9\.wav cannot be read") as caught:
        SOURCES.build("spoken-digits")
    assert str(archive) in str(caught.value)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"recordings/ten_bob_1.wav": GOOD}, "ten_bob_1.wav is not recordings/<digit>"),
        ({"loose.wav": GOOD}, "loose.wav is not recordings/<digit>"),
        ({"x/recordings/0_ann_3.wav": GOOD}, "are the same take"),
        ({"../0_ann_3.wav": GOOD}, "leaves the archive"),
    ],
)
def test_wrong_members_are_named(archive, more, match):
    archive.write_bytes(zipped({**recordings(), **more}))
    with pytest.raises(DataError, match=match) as caught:
        SOURCES.build("spoken-digits")
    assert str(archive) in str(caught.value)


def test_encrypted_damaged_and_missing_archives_are_told(archive):
    whole = bytearray(archive.read_bytes())
    directory = whole.index(b"PK\x01\x02")
    archive.write_bytes(whole[: directory + 8] + b"\1" + whole[directory + 9 :])
    with pytest.raises(DataError, match="encrypted"):
        SOURCES.build("spoken-digits")
    archive.write_bytes(whole[:100] + bytes(200) + whole[300:])
    with pytest.raises(DataError, match="cannot be read"):
        SOURCES.build("spoken-digits")
    archive.write_bytes(zipped({"recordings/0_ann_1.wav": bytes(100 << 20)}))
    with pytest.raises(DataError, match="more than 200 times"):
        SOURCES.build("spoken-digits")
    archive.write_bytes(zipped({"README": b"nothing"}))
    with pytest.raises(DataError, match="holds no recordings"):
        SOURCES.build("spoken-digits")
    archive.unlink()
    with pytest.raises(DataError, match=r"recordings/<digit>(.|\n)*GANNET_DATA"):
        SOURCES.build("spoken-digits")


def test_voices_that_are_not_there_are_told(archive):
    with pytest.raises(UsageError, match=r"unknown speaker 'anne'.*Did you mean: ann"):
        SOURCES.build("spoken-digits(speakers=[anne])")
    with pytest.raises(UsageError, match="keeps no voice"):
        SOURCES.build("spoken-digits(speakers=[])")


def test_real_recordings_where_present(shared_data):
    shared_data(ARCHIVE)
    source = SOURCES.build("spoken-digits(speakers=[theo, jackson])")
    train, test = source.split("train"), source.split("test")
    assert train.fields["y"].bincount().tolist() == [90] * 10
    assert test.fields["y"].bincount().tolist() == [10] * 10
    wanted = test.take(torch.arange(8))["x"]
    error = (spectrogram(waveform(wanted)) - wanted).abs() * 40
    assert error[wanted > -0.25].mean() < 1.5
