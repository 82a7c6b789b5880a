"""Features as files: each format read back by its own library, and written whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest

from zoo.errors import DataError
from zoo.features.files import Table, check_output, files, labels_by_folder, write_output
from zoo.features.files import safetensors as safetensors_file

SUFFIXES = (".npz", ".npy", ".parquet", ".safetensors")


class Kept:
    """Rows that come in pieces, as from a store."""

    def __init__(self, X, error=None):
        self.X = X
        self.error = error

    def rows(self):
        yield self.X[:4]
        if self.error:
            raise self.error
        yield self.X[4:]


X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
Y = np.array([0, 0, 1, 1, 1, -1, 0])


def table(error=None, widths=None):
    paths = [f"{'äb'[max(i, 0)]}/{n}.jpg" for n, i in enumerate(Y)]
    return Table(widths or {"X": 5}, paths, Y, ["ä", "b"], '{"name": "m"}', Kept(X, error))


def test_npz(tmp_path):
    write_output(tmp_path / "f.npz", table())
    found = np.load(tmp_path / "f.npz")  # allow_pickle is off
    assert found["X"].dtype == np.float32
    assert np.array_equal(found["X"], X)
    assert np.array_equal(found["y"], Y)
    assert found["classes"].tolist() == ["ä", "b"]
    assert found["paths"].tolist() == table().paths
    assert json.loads(str(found["model"])) == {"name": "m"}


def test_npy_can_be_mapped(tmp_path):
    write_output(tmp_path / "f.npy", table(widths={"stages.1": 2, "last": 3}))
    mapped = np.load(tmp_path / "f.npy", mmap_mode="r")
    assert np.array_equal(mapped, X)
    about = json.loads((tmp_path / "f.npy.json").read_text(encoding="utf-8"))
    assert about["columns"] == {"stages.1": [0, 2], "last": [2, 5]}
    assert about["y"] == Y.tolist()
    assert about["classes"] == ["ä", "b"]
    assert about["paths"] == table().paths
    assert about["model"] == {"name": "m"}


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_output(tmp_path / "f.parquet", table())
    found = parquet.read_table(tmp_path / "f.parquet")
    assert found.column_names == ["path", "label", "features"]
    assert np.array_equal(np.stack(found["features"].to_numpy()), X)
    assert found["path"].to_pylist() == table().paths
    assert found["label"].to_pylist() == ["ä", "ä", "b", "b", "b", None, "ä"]
    assert json.loads(found.schema.metadata[b"classes"]) == ["ä", "b"]
    assert json.loads(found.schema.metadata[b"model"]) == {"name": "m"}


def test_safetensors(tmp_path):
    from safetensors import safe_open

    write_output(tmp_path / "f.safetensors", table())
    with safe_open(tmp_path / "f.safetensors", "numpy") as found:
        assert np.array_equal(found.get_tensor("X"), X)
        assert np.array_equal(found.get_tensor("y"), Y)
        assert json.loads(found.metadata()["classes"]) == ["ä", "b"]
        assert json.loads(found.metadata()["paths"]) == table().paths
        assert json.loads(found.metadata()["model"]) == {"name": "m"}


def test_several_layers_are_several_arrays(tmp_path):
    from safetensors.numpy import load_file

    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in SUFFIXES:
        write_output(tmp_path / f"f{suffix}", table(widths={"stages.1": 2, "last": 3}))
    columns = parquet.read_table(tmp_path / "f.parquet")
    for name, expected in {"stages.1": X[:, :2], "last": X[:, 2:]}.items():
        assert np.array_equal(np.load(tmp_path / "f.npz")[name], expected)
        assert np.array_equal(load_file(tmp_path / "f.safetensors")[name], expected)
        assert np.array_equal(np.stack(columns[name].to_numpy()), expected)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_features_are_the_same_bytes(tmp_path, suffix):
    for name in "ab":
        write_output(tmp_path / f"{name}{suffix}", table())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_half_written(tmp_path, suffix, error):
    path = tmp_path / f"f{suffix}"
    path.write_text("what was there")
    with pytest.raises((KeyboardInterrupt, DataError)) as raised:
        write_output(path, table(error))
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "what was there"
    if isinstance(error, OSError):
        assert "No space left" in str(raised.value)
        assert str(path) in str(raised.value)


def test_what_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    with pytest.raises(DataError) as raised:
        check_output(tmp_path / "f.csv")
    assert all(suffix in raised.value.next_step for suffix in SUFFIXES)
    with pytest.raises(DataError, match="no folder"):
        check_output(tmp_path / "absent" / "f.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        check_output(tmp_path / "folder.npz")
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"finetune-zoo\[parquet\]"):
        check_output(tmp_path / "f.parquet")
    check_output(tmp_path / "f.npz")


def test_a_header_that_nobody_would_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "LONGEST", 50)
    with pytest.raises(DataError, match="so many paths"):
        write_output(tmp_path / "f.safetensors", table())
    assert not list(tmp_path.iterdir())


def test_labels_by_folder():
    root = Path("r")
    y, classes = labels_by_folder([root / "b/1", root / "a/x/2", root / "3", root / "b/4"], root)
    assert (y.tolist(), classes) == ([0, 1, -1, 0], ["b", "a"])
    y, classes = labels_by_folder([root / "train/b/1", root / "val/a/2", root / "Testing/b/3"], root)
    assert (y.tolist(), classes) == ([0, 1, 0], ["b", "a"])
