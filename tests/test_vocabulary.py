"""Words of other tools lead to what is here: every word but to one thing, and that thing exists."""

import pytest

from gannet import api
from gannet.cli import app
from gannet.core import registry
from gannet.core.errors import UsageError, unknown
from gannet.core.experiment import SECTIONS, Experiment, Turns
from gannet.core.overrides import _PART_REGISTRIES, resolve
from gannet.core.presets import paper_sizes, preset_names
from gannet.core.registry import Registry
from gannet.core.spec import parse
from gannet.core.vocabulary import WORDS, meant

REGISTRIES = {part.kind: part for part in vars(registry).values() if isinstance(part, Registry)}
COMMANDS = [c.name or c.callback.__name__ for c in app.registered_commands] + [g.name for g in app.registered_groups]
NAMES = {
    "command": COMMANDS,
    "list": ["presets", *api.KINDS],
    "preset": [*preset_names(), *paper_sizes()],
    "key": list(Experiment.model_fields),
} | {kind: part.names() for kind, part in REGISTRIES.items()}
NAMES |= {f"{kind} option": [] for kind in REGISTRIES}
ENTRIES = [(kind, words, here) for kind, table in WORDS.items() for words, here in table.items()]


def settable(path):
    """Whether a key, as generator.width, can be set: of some part where its head is a part."""
    head, _, rest = path.partition(".")
    if not rest:
        return head in {"from", *Experiment.model_fields}
    if head in SECTIONS:
        return rest in SECTIONS[head].model_fields
    last = rest.rpartition(".")[2]
    if head == "players":
        return last in Turns.model_fields
    return any(last in part.options(name) for part in _PART_REGISTRIES[head] for name in part.names())


@pytest.mark.parametrize(("kind", "words", "here"), ENTRIES)
def test_what_a_word_leads_to_is_there(kind, words, here):
    what = here.partition(",")[0].partition(" or ")[0]
    key, is_setting, _ = what.partition("(")[0].partition("=")
    if is_setting:
        assert settable(key)
    elif kind == "key" or "." in what:
        assert what == "--run DIR" or settable(what)
    elif kind.endswith(" option"):
        part = REGISTRIES[kind.removesuffix(" option")]
        assert any(what in part.options(name) for name in part.names())
    elif kind in REGISTRIES:
        spec, part = parse(what), REGISTRIES[kind]
        assert set(spec.args) <= set(part.options(spec.name))
        if spec.args:  # a value that is written must be one that is allowed
            assert part.build(spec)
    else:
        assert what in NAMES[kind]


@pytest.mark.parametrize("kind", WORDS)
def test_a_word_is_no_name_and_stands_once(kind):
    words = [word for words in WORDS[kind] for word in words.split()]
    assert len(words) == len(set(words))
    assert not set(words) & set(NAMES[kind])
    assert all(meant(kind, word.upper().replace("-", "_")) == meant(kind, word) != "" for word in words)


def test_only_a_word_that_is_known_is_told():
    assert meant("metric", "fig") == meant("dish", "fid") == meant("metric", "") == ""
    assert unknown("metric", "FID", ["frechet"]) == (
        "unknown metric 'FID'. Here that is frechet, with gannet evaluate --extractor inception. Allowed: frechet."
    )


def test_an_option_is_told_where_the_part_has_it():
    with pytest.raises(UsageError, match=r"r1 has no option 'gamma'. Did you mean: weight \(=1\)"):
        registry.REGULARIZERS.resolve("r1(gamma=10)")
    with pytest.raises(UsageError, match=r"cifar10 has no option 'resolution'. It takes: grey, flip"):
        registry.SOURCES.resolve("cifar10(resolution=64)")
    with pytest.raises(
        UsageError, match=r"'features'. Here that is evaluate.extractor, or gannet evaluate --extractor"
    ):
        registry.METRICS.resolve("frechet(features=inception)")


def test_nothing_is_translated():
    with pytest.raises(UsageError, match="unknown objective 'bce'"):
        resolve("quick", {"objective": "bce"})
