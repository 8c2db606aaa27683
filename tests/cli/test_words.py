"""What the command line makes of words: help, mistakes, descriptions. Nothing here trains."""

import errno
import os
import random
import re
import subprocess
import sys
import warnings

import pytest

from gannet import api, cli
from gannet.cli import main
from gannet.core.errors import DataError, DivergedError, Problems, ResourceError

PLAIN = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty directory to stand in, and a `main` that leaves the process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    return tmp_path


def gannet(*words, **options):
    command = [sys.executable, "-m", "gannet", *words]
    return subprocess.run(command, capture_output=True, text=True, env=options.pop("env", PLAIN), timeout=60, **options)


def refused(capsys, code, *words):
    """Run the words, expect `code` and well-formed errors; returns what was said."""
    found = main(list(words))
    said = capsys.readouterr()
    assert found == code, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert "internal error" not in said.err
    lines = said.err.splitlines()
    assert lines[0].startswith("error: ")
    assert all(re.match(r"error: |\d+ problems?; nothing was started\.", line) for line in lines)
    return said.err


# ----------------------------------------------------------------------------------------------------------- help


def test_help_does_not_import_torch():
    program = (
        "import sys, gannet.cli as c; first = 'torch' in sys.modules; "
        "codes = [c.main(w) for w in ([], ['--help'], ['train', '--help'], ['trian'], ['--version'])]; "
        "print(first, 'torch' in sys.modules, codes)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False False [0, 0, 0, 2, 0]", done.stderr


def test_the_package_offers_gan_late():
    program = "import sys, gannet; early = 'torch' in sys.modules; from gannet import GAN; print(early, GAN.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False GAN", done.stderr
    import gannet as package

    assert re.fullmatch(r"\d+\.\d+\.\d+", package.__version__)
    with pytest.raises(AttributeError, match="no attribute 'GNA'"):
        package.GNA  # noqa: B018


def test_alone_it_prints_six_examples_of_real_commands(capsys):
    assert main([]) == 0
    examples = [line for line in capsys.readouterr().out.splitlines() if line.startswith("gannet ")]
    verbs = {c.name or c.callback.__name__ for c in cli.app.registered_commands}
    assert len(examples) == 6
    assert {line.split()[1] for line in examples} <= verbs


def test_options_may_stand_anywhere(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(api, "dry_run", lambda *given: seen.append(given) or "shown")
    for words in (
        ["-n", "gan", "batch=8", "--run", "here", "seed=1"],
        ["gan", "batch=8", "--dry-run", "seed=1", "--run=here"],
        ["gan", "--run", "here", "batch=8", "seed=1", "-n", "--debug"],
    ):
        assert main(["train", *words]) == 0
    assert seen == [("gan", ["batch=8", "seed=1"], "here", ())] * 3
    assert capsys.readouterr().out == "shown\n" * 3


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        ("trian gan", "unknown command 'trian'. Did you mean: train?"),
        ("train", "Missing argument 'PRESET', as in gannet train quick"),
        ("train gan --dry-rum", "--dry-run"),
        ("train gan -x=3", "No such option: -x"),
        ("train gan --epochs 8", "stop.samples is a setting. Write it without dashes: stop.samples=VALUE"),
        ("train gan --outdir x", "No such option: --outdir; here that is --run DIR."),
        ("train gan outdir=x", "unknown key 'outdir' (command line). Did you mean: --run DIR?"),
        ("train gan --batch 8", "batch is a setting. Write it without dashes: batch=VALUE"),
        ("train gan --optim.generator.lr=1", "Write it without dashes: optim.generator.lr=VALUE"),
        ("train gan --run --dry-run", "--run has no value: the option --dry-run follows it"),
        ("sample x --out --n=4", "--out has no value: the option --n=4 follows it"),
        ("sample runs/x --n many", "--n"),
        ("sample runs/x --seed -1", "--seed"),
        ("generate runs/x", "unknown command 'generate'. Here that is sample. Allowed: bench,"),
        ("train CycleGAN", "unknown preset 'CycleGAN'. Here that is cycle-mini. Allowed: acgan,"),
        ("train gan objective=bce", "unknown objective 'bce' (objective). Here that is nonsaturating. Allowed: hinge,"),
        (
            "explain gan evaluate.metrics=[fid]",
            "unknown metric 'fid' (evaluate.metrics). Here that is frechet, with gannet evaluate --extractor",
        ),
        ("train gan data=fmnist", "Here that is fashion-mnist."),
        ("list losses", "Here that is objectives."),
        ("train qick", "Did you mean: quick?"),
        ("train batch=8", "Write: gannet train quick batch=8"),
        ("train gan batch = 8", "Write batch=8 without blanks"),
        ("train gan batch =8", "Write batch=8 without blanks"),
        ("train gan batch= 8", "Write batch=8 without blanks"),
        ("train gan batch", "'batch' is not an override. Write key=value"),
        ("train gan batch 8", "'batch 8' has a blank in the place of '='. Write batch=8"),
        ("train gan data=digits size=8", "unknown key 'size' (command line). Did you mean: data.size?"),
        ("train gan bacth=8", "unknown key 'bacth' (command line). Did you mean: batch (=64)?"),
        ("train gan batch=x", "batch: received"),
        ("train gan optim.generator.lr=0,0002", "Use a dot: optim.generator.lr=0.0002"),
        ("train gan objective=hinje", "Did you mean: hinge?"),
        ("train gan data=digitz", "Did you mean: digits?"),
        ("train gan generator.widht=8 -n", "Did you mean: width"),
        ("train gan stop.minutes=none -n", "Set stop.samples=… or stop.minutes=…"),
        ("train gan from=runs/none -n", "runs/none is no run"),
        ("train gan device=tpu -n", "unknown device 'tpu'"),
        ("train gan device=cpu:x -n", "unknown device 'cpu:x'"),
        ("train gan device=meta -n", "unknown device 'meta'"),
        (
            "train gan optim.lr=1e-3",
            "optim.lr: received 0.001 (command line); it must be a part, as in optim.generator=",
        ),
        ("train gan optim.lr=1e-3", "or only optim.generator.lr=2e-4."),
        ("train gan players.discriminator=2", "as in players.discriminator.repeats=2."),
        ("train gan players=2", "it is set player by player, as in players.discriminator.repeats=2."),
        ("train gan clip=1", "it is set player by player, as in clip.discriminator=1."),
        ("train gan stop=5", "it is set key by key (samples, minutes, target, patience), as in stop.minutes=5."),
        ("train gan stop.samples.x=3", "unknown key 'stop.samples.x' (command line): stop.samples is one value, as in"),
        ("train quick regularizers.r1=5", "regularizers.r1: received 5 (command line); it must be a part, as in"),
        ("train gan regularizers=[3]", "regularizers: received [3] (command line); it must be a part"),
        ("train gan evaluate.metrics=[3]", "as in evaluate.metrics=[frechet, recall]."),
        ("train gan evaluate.extractor=3", "it must be a part, as in evaluate.extractor=classifier."),
        ("train gan evaluate.extractor=clasifier", "(evaluate.extractor). Did you mean: classifier"),
        ("train gan evaluate.extractor=pca(k=3)", "evaluate.extractor: pca has no option 'k'"),
        ("train gan extractor=classifier", "Did you mean: evaluate.extractor?"),
        ("train gan batch=2.5", "it must be a whole number, as in batch=64."),
        ("train gan share=all", "it must be 'nothing', 'fakes' or 'scores'"),
        ("train gan keep.newest=0", "it must be at least 1, as in keep.newest=2."),
        ("train gan evaluate.every=[3]", 'it must be an extent, a share as "50%" or a number of samples as 200_000.'),
        ("train gan evaluate.every=0", "an interval must be above 0; 100% is once"),
        (
            "train gan ema.halflife=abc",
            "it must be a number of samples, or several in a list as in [500, 5000].",
        ),
        ("train gan ema.halflife=[500,x]", "it must be a number of samples, or several in a list"),
        (
            "train gan ema.halflife=0",
            "none turns the average off; a half-life must be a number of samples above 0, as in",
        ),
        ("train gan ema.halflife=[500,-1]", "a half-life must be a number of samples above 0"),
        ("train gan ema.halflife=inf", "a half-life must be a number of samples above 0"),
        ("train gan ema.halflife=[]", "a list names one half-life or more, each once, as in [500, 5000]"),
        ("train gan ema.halflife=[5,5]", "a list names one half-life or more, each once"),
        ("train gan keep.log=0", "an interval must be above 0; 100% is once, as in keep.log="),
        ("train gan keep.samples=0%", "an interval must be above 0"),
        ("train gan keep.checkpoints=0", "an interval must be above 0"),
        ("train gan --plugin none.py -n", "--plugin none.py: there is no such file"),
        ("train none.yaml", "none.yaml"),
        ("explain qick", "Did you mean: quick?"),
        ("list", "Missing argument 'KIND'"),
        ("list objectivs", "Did you mean: objectives?"),
        ("resume runs/none", "runs/none is no run"),
        ("resume none", "runs/none is no run"),
        ("sample none", "runs/none is no run"),
    ],
)
def test_a_mistake_exits_2_and_teaches(words, teaches, capsys, elsewhere):
    assert teaches in refused(capsys, 2, *words.split())
    assert list(elsewhere.iterdir()) == []


def test_all_problems_are_shown_at_once(capsys):
    said = refused(capsys, 2, "train", "gan", "bacth=8", "seed=x", "optim.generator.lr=0,1").splitlines()
    assert [line.split(":")[0] for line in said[:-1]] == ["error"] * 3
    assert said[-1].startswith("3 problems; nothing was started.")


def test_nobody_hears_the_words_of_the_validator(capsys):
    for word in (
        "optim.lr=1",
        "players=[2]",
        "stop=5",
        "clip=x",
        "batch=[1]",
        "channels_last=3",
        "keep.log=x",
        "log=x",
    ):
        said = refused(capsys, 2, "train", "quick", word)
        assert not re.search("input should|dictionary|instance of|valid integer|value error", said), said


def test_a_lone_metric_is_a_list_of_one():
    lone, listed = (api.resolve("gan", [f"evaluate.metrics={m}"]).experiment for m in ("recall(k=2)", "[recall(k=2)]"))
    assert lone == listed
    assert [str(m) for m in lone.evaluate.metrics] == ["recall(k=2)"]


def test_words_that_are_no_text_are_refused(capsys):
    assert "\\udcff" in refused(capsys, 2, "train", "gan", "data=./\udcff")


def _malformed(number):
    """A word that no reading of it can accept."""
    dice = random.Random(number)
    key = dice.choice(["batch", "seed", "stop.samples", "ema.halflife", "keep.newest", "evaluate.every", "share"])
    letters = "".join(dice.choice("qxzéß∇ .:;%&|<>~^'\"([{}])") for _ in range(dice.randint(1, 12)))
    match number % 6:
        case 0:
            return f"{key[:-1]}q{key[-1]}={dice.randint(1, 9)}"
        case 1:
            return (
                f"{key}={dice.choice(['(', '[1,', 'a(b', '1 2', '{1: 2}', 'lambda: 1', '1+1', 'x[0]', '', 'f(**k)'])}"
            )
        case 2:
            return f"{key}={dice.choice(['-1', 'r1()', '[[1]]', '1e999', 'nan', '-5%', 'true.1', 'cosine(1'])}"
        case 3:
            return f"w{letters}".replace("=", "")
        case 4:
            part = dice.choice(["objective", "generator", "task", "data", "regularizers", "augment"])
            return (
                f"{part}={dice.choice(['nothing-like-it', 'r1(weight)', 'hinge(mode=1)', 'mlp(1', '3'])}{letters[:1]}"
            )
        case _:
            value = dice.choice(["fast", "[", "[[]]", "cosine()"])
            return f"optim.generator.{dice.choice(['lr', 'betas', 'eps'])}={value}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["photos"], "Write: gannet train auto data=photos"),
        (["my photos"], "Write: gannet train auto 'data=my photos'"),
        (["runs/one"], "Write: gannet resume runs/one"),
        (["auto", "photos"], "'photos' stands where a setting is expected. To train on it, write data=photos"),
    ],
)
def test_data_where_a_preset_or_a_setting_is_expected(words, says, capsys, elsewhere):
    for name in ("photos", "my photos", "runs/one"):
        (elsewhere / name).mkdir(parents=True)
    (elsewhere / "runs" / "one" / "experiment.yaml").write_text("preset: gan")
    assert says in refused(capsys, 2, "train", *words)


def test_a_run_that_goes_on_is_offered_no_other_data(capsys, elsewhere):
    (elsewhere / "photos").mkdir()
    told = refused(capsys, 2, "resume", "runs/one", "photos")
    assert "data=" not in told


@pytest.mark.parametrize("number", range(60))
def test_malformed_words_never_crash_and_never_pass(number, capsys, elsewhere):
    refused(capsys, 2, "train", "gan", _malformed(number), "--dry-run")
    assert list(elsewhere.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ exit codes


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Problems(["one.", "two."]), 2, "error: one.\nerror: two.\n2 problems; nothing was started.\n"),
        (DataError("no rows.\nno columns."), 3, "error: no rows.\nerror: no columns.\n"),
        (DivergedError("not finite."), 5, "error: not finite.\n"),
        (ResourceError("full."), 6, "error: full.\n"),
        (MemoryError(), 6, "error: out of memory."),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), 6, "error: x.png: No space left on device."),
        (PermissionError(errno.EACCES, "Permission denied", "x.png"), 2, "error: x.png: Permission denied."),
        (KeyboardInterrupt(), 130, ""),
        (
            ValueError("odd\nand more"),
            1,
            "internal error: ValueError: odd. This is a defect of Gannet. Run the command",
        ),
    ],
)
def test_every_error_has_its_exit_code(error, code, says, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(api, "train", fail)
    assert main(["train", "gan"]) == code
    said = capsys.readouterr()
    assert said.err.startswith(says)
    assert "Traceback" not in said.err
    assert said.out == ""


def test_debug_shows_the_traceback(monkeypatch, capsys):
    monkeypatch.setattr(api, "train", lambda *_: 1 / 0)
    assert main(["train", "gan", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "internal error: ZeroDivisionError" in said
    assert "again" not in said


def test_only_the_first_process_of_several_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "gan", "bacth=8"]) == 2
    assert main(["list", "presets"]) == 0
    said = capsys.readouterr()
    assert said.out + said.err == ""


def test_a_missing_folder_of_data_exits_3(capsys):
    refused(capsys, 3, "train", "gan", "data=./nothere", "-n")


# --------------------------------------------------------------------------------------------------- descriptions


@pytest.mark.parametrize("preset", api.preset_names())
def test_explain_every_preset(preset, capsys, elsewhere):
    assert main(["explain", preset]) == 0
    said = capsys.readouterr().out
    experiment = api.resolve(preset).experiment
    judged = re.search(r"^  discriminator: ", said, re.MULTILINE) is not None
    assert judged == (f"objective: {experiment.objective}" in said) == ("L_D = " in said)
    assert re.search(r"parameters\nplayers", said)
    assert re.search(r"share of the run +0 % +25 % +50 % +75 % +100 %", said)
    for name in experiment.regularizers:
        assert f"regularizers.{name}: " in said
    assert re.search(rf"batch +{experiment.batch} ", said)
    assert list(elsewhere.iterdir()) == []


def test_explain_reads_schedules_and_origins(capsys):
    assert main(["explain", "quick", "regularizers.r1.weight=7", "batch=48"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert rows["regularizers.r2.weight"][-2:] == ["[preset", "quick]"]
    assert rows["batch"] == ["48", "[command", "line]"]
    assert rows["regularizers.r1.weight"] == ["7", "[command", "line]"]
    assert rows["generator.kernel"] == ["4", "[default]"]
    assert rows["generator.width"] == ["32", "[preset", "quick]"]


def test_explain_evaluates_schedules_along_the_run(capsys):
    main(["explain", "quick"])
    said = capsys.readouterr().out
    row = re.search(r"optim\.generator\.lr +([\d. ]+)\n", said)
    assert [float(value) for value in row[1].split()] == pytest.approx([1e-3, 1e-3, 1e-3, 5.5e-4, 1e-4])
    row = re.search(r"regularizers\.r1\.weight +([\d. ]+)\n", said)
    assert [float(value) for value in row[1].split()] == pytest.approx([1, 0.55, 0.1, 0.1, 0.1])


def test_explain_says_when_a_schedule_depends_on_a_length_not_yet_known(capsys):
    rate = "optim.generator.lr=linear(1, 0, over=1000)"
    main(["explain", "gan", rate])
    assert "known once stop.samples is set" in capsys.readouterr().out
    main(["explain", "gan", rate, "stop.samples=2000"])
    row = re.search(r"optim\.generator\.lr +([\d. ]+)\n", capsys.readouterr().out)
    assert [float(value) for value in row[1].split()] == pytest.approx([1, 0.5, 0, 0, 0])


@pytest.mark.parametrize("kind", ["presets", *api.KINDS])
def test_list_every_kind(kind, capsys):
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = (
        [*api.preset_names(), *api.paper_sizes()]
        if kind == "presets"
        else [n for parts in api.KINDS[kind] for n in parts.names()]
    )
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split()) > 3 for line in lines)


# --------------------------------------------------------------------------------------------------------- streams


def test_a_reader_that_leaves_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "gannet", "list", "presets"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=PLAIN, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("stream", ["1", "2"])
def test_closed_streams_keep_the_exit_code(stream):
    command = f"exec {sys.executable} -m gannet train qick {stream}>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=PLAIN, timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_locale_without_our_letters_and_no_home():
    env = {k: v for k, v in PLAIN.items() if k != "HOME" and not k.startswith(("LC_", "LANG"))}
    done = gannet("explain", "gan", env={**env, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0, done.stderr
    assert "L_D = " in done.stdout
    assert done.stdout.isascii()
