"""Spec text: what is read, and what is said of text that nearly is a spec."""

from __future__ import annotations

import pytest

from gannet.core.errors import UsageError
from gannet.core.spec import Spec, parse, parse_value, render


@pytest.mark.parametrize(
    "text",
    ["10", "0.0002", "-3", "[0, 0.99]", '"a path"', "true", "none", "wgan-gp", 'f(1, "x", a=g(b=[1, 2]), c=r-3)'],
)
def test_what_is_rendered_reads_the_same(text):
    value = parse_value(text)
    assert parse_value(render(value)) == value


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("array(path=./one.npy)", 'array(path="./one.npy")'),
        ("array(./one.npy)", 'array("./one.npy")'),
        ("folder(path=~/my pictures,size=32)", 'folder(path="~/my pictures",size=32)'),
        ("folder(path=a/b, size=32)", 'folder(path="a/b", size=32)'),
        ("edges(of=folder(path=a/b, size=32))", 'edges(of=folder(path="a/b", size=32))'),
    ],
)
def test_a_path_without_quotes_is_shown_with_them(text, mended):
    with pytest.raises(UsageError) as caught:
        parse(text, "data")
    assert str(caught.value).endswith(f"Did you mean data='{mended}'?")
    assert isinstance(parse(mended), Spec)


@pytest.mark.parametrize("text", ["a/b", "r1(weight=1/2)", "r1(weight=1-)", "r1(weight=", "f(path=./a'b)", "f(" * 40])
def test_nothing_is_suggested_that_would_not_be_read_or_meant(text):
    with pytest.raises(UsageError) as caught:
        parse_value(text)
    assert "Did you mean" not in str(caught.value)
