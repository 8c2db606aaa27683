"""What may stand after `data=` as it is: a source's name, or a path as people write it."""

from __future__ import annotations

import pytest

from gannet.core.errors import UsageError
from gannet.core.experiment import data_shorthand
from gannet.core.spec import Spec


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with folders of other names than sources have, and one that is called as a source is."""
    for name in ("photos/cats", "my photos", "faces (1)", "2024", "digits"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "text", ["photos", "photos/cats", "./photos", "photos/", "my photos", "faces (1)", "2024", "./digits", "digits/"]
)
def test_a_folder_is_named_as_it_lies_there(text):
    assert data_shorthand(text) == Spec("folder", (), {"path": f"./{text.removeprefix('./')}"})


@pytest.mark.parametrize("text", ["./dogs", "~/no/such/place", "/no/such/place", "../nothing.zip"])
def test_what_looks_like_a_path_is_one_though_nothing_is_there(text):
    assert data_shorthand(text) == Spec("folder", (), {"path": text})


@pytest.mark.parametrize("text", ["photos/dogs", "nothing.zip"])
def test_a_path_from_here_is_written_in_one_way(text):
    assert data_shorthand(text) == data_shorthand(f"./{text}") == Spec("folder", (), {"path": f"./{text}"})


def test_a_source_comes_before_a_folder_of_its_name():
    assert data_shorthand("digits") == Spec("digits")
    assert data_shorthand("digits(size=32)") == Spec("digits", (), {"size": 32})


@pytest.mark.parametrize("text", ["digitz", "my photo", "3", "3<"])
def test_what_is_neither_is_refused_with_the_place_that_was_looked_in(text, tmp_path):
    with pytest.raises(UsageError, match=f"unknown data source '{text}'.*there is no {text} in {tmp_path}"):
        data_shorthand(text)


@pytest.mark.parametrize("text", ["", " ", "photos("])
def test_text_that_is_nothing_is_refused(text):
    with pytest.raises(UsageError, match="is not a value"):
        data_shorthand(text)
