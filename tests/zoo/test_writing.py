"""Whole or not at all: files and folders that replace what was there."""

import pytest

from zoo.writing import atomic_file, atomic_folder, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.name.startswith(".a.txt.")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


def fail_in_file(path, error):
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error


def fail_in_folder(path, error):
    with atomic_folder(path, replace=True) as temporary:
        (temporary / "half").touch()
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path, folder = tmp_path / "a.txt", tmp_path / "folder"
    path.write_text("old")
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(error):
        fail_in_file(path, error)
    with pytest.raises(error):
        fail_in_folder(folder, error)
    assert path.read_text() == "old"
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["a.txt", "folder"]


def test_a_folder_takes_its_place_at_the_end(tmp_path):
    folder = tmp_path / "folder"
    for name, replace in (("first", False), ("second", True)):
        with atomic_folder(folder, replace=replace) as temporary:
            (temporary / name).touch()
        assert names(folder) == [name]
    assert names(tmp_path) == ["folder"]


def test_a_folder_is_not_replaced_unasked(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(OSError, match="not empty"), atomic_folder(folder) as temporary:
        (temporary / "new").touch()
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_permissions_are_the_usual_ones(tmp_path):
    (tmp_path / "usual").touch()
    (tmp_path / "usual folder").mkdir()
    write_text(tmp_path / "file", "x")
    with atomic_folder(tmp_path / "folder"):
        pass
    for ours, usual in (("file", "usual"), ("folder", "usual folder")):
        assert (tmp_path / ours).stat().st_mode == (tmp_path / usual).stat().st_mode
