import logging
import stat

import numpy as np
import platformdirs
import pytest

from quickstudy.data import cache
from quickstudy.errors import DataError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """$QUICKSTUDY_DATA, the platform's cache folder and the temporary one, all of them new."""
    named, platform, temporary = (tmp_path / name for name in ("named", "platform", "temporary"))
    temporary.mkdir()
    monkeypatch.setenv(cache.VARIABLE, str(named))
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: platform)
    monkeypatch.setattr(cache.tempfile, "tempdir", str(temporary))
    return named, platform, temporary


@pytest.fixture
def readonly(monkeypatch):
    """Folders that nothing can be written to, whoever runs the tests."""
    closed = set()
    writable = cache._writable
    monkeypatch.setattr(cache, "_writable", lambda f: f not in closed and writable(f))
    return closed.add


def test_the_named_folder_comes_first(places):
    named, platform, _ = places
    assert cache.cache_folders() == [named, platform]
    assert cache.cache_folder() == named
    assert named.is_dir()
    assert not platform.exists()


def test_an_empty_variable_names_no_folder(places, monkeypatch):
    _, platform, _ = places
    monkeypatch.setenv(cache.VARIABLE, "")
    assert cache.cache_folders() == [platform]
    monkeypatch.delenv(cache.VARIABLE)
    assert cache.cache_folder() == platform


def test_an_argument_goes_before_everything(places, tmp_path):
    assert cache.cache_folders(tmp_path / "mine") == [tmp_path / "mine"]
    assert cache.cache_folder(tmp_path / "mine") == tmp_path / "mine"


def test_the_home_folder_is_expanded(places, monkeypatch):
    monkeypatch.setenv("HOME", "/homes/me")
    assert str(cache.cache_folders("~/data")[0]) == "/homes/me/data"
    monkeypatch.setenv(cache.VARIABLE, "~/data")
    assert str(cache.cache_folders()[0]) == "/homes/me/data"


def test_what_cannot_be_written_is_passed_over(places, readonly, caplog):
    named, platform, temporary = places
    readonly(named)
    assert cache.cache_folder() == platform
    assert not caplog.records
    readonly(platform)
    with caplog.at_level(logging.WARNING):
        folder = cache.cache_folder()
    assert folder.parent == temporary
    assert str(folder) in caplog.text
    assert str(named) in caplog.text
    assert cache.cache_folder() == folder  # the same one for the next process
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_temporary_folder_that_somebody_else_made_is_not_used(places, readonly, tmp_path):
    named, platform, temporary = places
    readonly(named)
    readonly(platform)
    expected = cache.cache_folder()
    expected.rmdir()
    expected.symlink_to(tmp_path)  # where somebody would like us to write
    folder = cache.cache_folder()
    assert folder != expected
    assert folder.parent == temporary
    assert folder.is_dir()


def test_a_folder_that_takes_no_file_is_not_writable(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(13, "Permission denied")

    assert cache._writable(tmp_path)
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", refused)
    assert not cache._writable(tmp_path)


def test_a_file_is_no_cache(places, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for look in (cache.cache_folder, cache.cache_folders):
        with pytest.raises(DataError, match="must be a folder, got the file"):
            look(file)
    assert not cache._writable(file / "inside")


def test_find_looks_in_every_folder(places):
    named, platform, _ = places
    assert cache.find("a.npz") is None
    platform.mkdir()
    (platform / "a.npz").touch()
    assert cache.find("a.npz") == platform / "a.npz"
    named.mkdir()
    (named / "a.npz").mkdir()  # not a file
    assert cache.find("a.npz") == platform / "a.npz"
    (named / "a.npz").rmdir()
    (named / "a.npz").touch()
    assert cache.find("a.npz") == named / "a.npz"
    assert cache.find("a.npz", platform) == platform / "a.npz"


def test_a_folder_that_may_not_be_entered_holds_nothing(places, monkeypatch):
    named, platform, _ = places
    platform.mkdir()
    (platform / "a.npz").touch()
    is_file = cache.Path.is_file

    def refused(path):
        if path.parent == named:
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(cache.Path, "is_file", refused)
    assert cache.find("a.npz") == platform / "a.npz"


def test_a_temporary_folder_that_cannot_be_made(places, readonly):
    named, platform, temporary = places
    readonly(named)
    readonly(platform)
    expected = cache.cache_folder()
    expected.rmdir()
    expected.write_text("a file in its place")
    folder = cache.cache_folder()
    assert folder.parent == temporary
    assert folder.is_dir()


def test_free_bytes_of_a_folder_not_made_yet(tmp_path):
    assert cache.free_bytes(tmp_path / "not" / "yet") > 0
    assert not (tmp_path / "not").exists()


def test_arrays_survive_the_round_trip(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.array(["ant", "ß"])}
    cache.write_arrays(tmp_path / "x.npz", arrays)
    again = cache.read_arrays(tmp_path / "x.npz")
    assert set(again) == {"a", "b"}
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype
        assert np.array_equal(again[name], array)
    assert stat.S_IMODE((tmp_path / "x.npz").stat().st_mode) == 0o644
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    cache.write_arrays(path, {"a": np.zeros(3)})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        cache.write_arrays(path, {"a": np.ones(3)})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_objects_are_never_pickled(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle"):
        cache.write_arrays(tmp_path / "x.npz", {"a": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / "y.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"no whole npz file of arrays: .*allow_pickle"):
        cache.read_arrays(tmp_path / "y.npz")


@pytest.mark.parametrize("keep", [0, 1, 40, 400, -1, -60])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "x.npz"
    cache.write_arrays(path, {"a": np.random.default_rng(0).random(1000), "b": np.zeros(9)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError) as error:
        cache.read_arrays(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    cache.write_arrays(path, {"a": np.random.default_rng(0).random(1000)})
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match="no whole npz file"):
        cache.read_arrays(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.npz"):
        cache.read_arrays(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="npz file of several arrays, got a single array"):
        cache.read_arrays(tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(DataError, match="no whole npz file"):
        cache.read_arrays(tmp_path / "text.npz")
