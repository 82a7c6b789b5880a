"""Every kind of file that a folder of images may hold, through extract, finetune and predict."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from commands import call
from odd_images import IGNORED, JPEG, KINDS, READ, SKIPPED, make_all, picture
from photos import crops
from PIL import Image

import finetune.cli.app
import zoo.cli.app
from zoo.features import fill
from zoo.images.decode import UnreadableImage, open_image
from zoo.images.scan import as_text

FORMATS = (".npz", ".npy", ".parquet", ".safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of two classes, and a third class of odd files."""
    root = crops(tmp_path_factory.mktemp("data") / "photos", n=8, side=64)
    return root, make_all(root / "odd")


@pytest.fixture(scope="module")
def commands(data, network, tmp_path_factory):
    """What the three commands did with them."""
    root, _ = data
    place = tmp_path_factory.mktemp("results")
    output, run = place / "features.npz", place / "run"
    options = ("--model", network, "--engine", "torch", "--copies", "ignore", "--keep-masks")
    done = {
        "extract": call(
            zoo.cli.app.main, "extract", network, root, "-o", output, "--engine", "torch", "--json"
        ),
        "finetune": call(finetune.cli.app.main, "--data", root, *options, "--out", run, "--json"),
        "predict": call(finetune.cli.app.main, "predict", run, root / "odd", "--engine", "torch", "--json"),
    }
    for command in done.values():
        assert command.code == 0, command.err
        assert "Traceback" not in command.err
        assert "UserWarning" not in command.err
    return done, output


@pytest.fixture(scope="module")
def outcomes(data, commands):
    """For each command: the files that it read, and the reasons for which it skipped others, by name."""
    done, output = commands
    root, _ = data
    odd = root / "odd"
    with np.load(output) as file:
        extracted = {name.partition("/")[2] for name in file["paths"].tolist() if name.startswith("odd/")}
    extract, train, predict = (done[name].json for name in ("extract", "finetune", "predict"))
    trained = {path.relative_to(odd).as_posix() for path in _all(odd)}
    refused = {item["path"].partition("/")[2]: item["reason"] for item in train["data"]["skipped"]}
    return {
        "extract": (extracted, {Path(item["path"]).name: item["reason"] for item in extract["skipped"]}),
        "finetune": ((trained - set(refused), train["data"]["counts"]["odd"]), refused),
        "predict": (
            {Path(item["path"]).name for item in predict["predictions"]},
            {Path(item["path"]).name: item["reason"] for item in predict["skipped"]},
        ),
    }


def _all(folder):
    return [path for path in folder.iterdir() if path.is_file() or path.is_symlink()]


@pytest.mark.parametrize("odd", KINDS, ids=lambda odd: odd.kind)
def test_what_becomes_of_it(odd, data, outcomes):
    if odd.kind not in data[1]:
        pytest.skip("this system cannot have such a file")
    for command in ("extract", "predict"):
        name = os.fsdecode(odd.name)
        read, skipped = outcomes[command]
        name = as_text(name)
        assert (name in read) == (odd.outcome == READ), command
        assert (name in skipped) == (odd.outcome == SKIPPED), command
        assert odd.reason in skipped.get(name, odd.reason), command


def test_finetune_trains_on_exactly_those_that_can_be_read(data, outcomes):
    """Its record names the files it skipped, and counts the others."""
    kinds = {kind for kind, _ in data[1].values()}
    (_, count), skipped = outcomes["finetune"]
    assert count == sum(odd.outcome == READ for odd in kinds)
    assert set(skipped) == {os.fsdecode(odd.name) for odd in kinds if odd.outcome == SKIPPED}
    assert all(odd.reason in skipped[os.fsdecode(odd.name)] for odd in kinds if odd.outcome == SKIPPED)
    assert sum(odd.outcome == IGNORED for odd in kinds) >= 5


@pytest.mark.parametrize("odd", [odd for odd in KINDS if odd.tolerance is not None], ids=lambda odd: odd.kind)
def test_pixels(odd, data):
    """Whatever the file, the picture that comes out is the same."""
    if odd.kind not in data[1]:
        pytest.skip("this system cannot have such a file")
    found = open_image(data[1][odd.kind][1])
    difference = np.asarray(found).astype(int) - np.asarray(picture())
    assert np.abs(difference).max() <= odd.tolerance


@pytest.mark.parametrize("suffix", FORMATS)
def test_odd_names_in_every_kind_of_output(suffix, data, network, tmp_path):
    done = call(
        zoo.cli.app.main, "extract", network, data[0], "-o", tmp_path / f"f{suffix}", "--engine", "torch"
    )
    assert done.code == 0, done.err
    assert re.search(r"\d+ images of 3 classes", done.out)


def test_names_cannot_act_on_the_terminal(data, commands, tmp_path):
    """Control characters in file names are printed as text."""
    hostile = tmp_path / "\x1b[2J\x07.jpg"
    hostile.write_bytes(b"no image")
    run = commands[1].parent / "run"
    shown = [call(finetune.cli.app.main, "predict", run, *files) for files in ([hostile], [data[0] / "odd"])]
    for done in shown:
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out + done.err
    assert "not an image in a format we read" in shown[0].out


@pytest.mark.skipif(
    not hasattr(os, "seteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)
def test_no_permission(tmp_path):
    path = tmp_path / "private.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(UnreadableImage, match=r"permission denied|no such file"):
            open_image(path)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("change", ["deleted", "changed", "emptied", "made a pipe"])
def test_files_that_change_while_a_command_runs(change, network, tmp_path, monkeypatch):
    """A file is read twice: for its digest, then to be decoded. In between, anything may happen to it."""
    root = tmp_path / "photos" / "noise"
    root.mkdir(parents=True)
    noise = np.random.default_rng(len(change)).integers(256, size=(4, 20, 20, 3), dtype=np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(root / f"{i}.png")
    victim = root / "0.png"
    plain = fill._digests

    def digests(paths):
        found = plain(paths)
        content = victim.read_bytes()
        victim.unlink()
        if change == "changed":
            victim.write_bytes(content[:-1] + b"?")
        elif change == "emptied":
            victim.touch()
        elif change == "made a pipe":
            os.mkfifo(victim)
        return found

    monkeypatch.setattr(fill, "_digests", digests)
    words = ("extract", network, root.parent, "-o", tmp_path / "o.npz", "--engine", "torch", "--json")
    done = call(zoo.cli.app.main, *words)
    assert done.code == 0, done.err
    assert [Path(item["path"]).name for item in done.json["skipped"]] == ["0.png"]
    assert len(np.load(tmp_path / "o.npz")["X"]) == 3
