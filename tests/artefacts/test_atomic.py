import os
import threading
from pathlib import Path

import pytest

from quickstudy.artefacts.atomic import exclusive, read_bytes, write_atomically, write_bytes
from quickstudy.errors import ArtefactError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for content in (b"one", b"", b"three" * 100_000):
        write_bytes(tmp_path / "file", content)
        assert read_bytes(tmp_path / "file") == content
    assert names(tmp_path) == ["file"]


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_bytes(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x")
        assert not (tmp_path / "run").exists()

    write_atomically(tmp_path / "run", write)
    assert (tmp_path / "run" / "deep" / "file").read_text() == "x"
    assert names(tmp_path) == ["run"]


def test_a_folder_that_holds_something_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_atomically(tmp_path / "run", Path.mkdir)  # an empty one is not
    (tmp_path / "run" / "file").touch()
    with pytest.raises(ArtefactError, match="run: there is a folder that holds something"):
        write_atomically(tmp_path / "run", Path.mkdir)
    with pytest.raises(ArtefactError, match="run: there is a folder that holds something"):
        write_bytes(tmp_path / "run", b"")
    assert names(tmp_path) == ["run"]


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "file")
    write_bytes(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").read_bytes() == b"x"
    assert names(tmp_path) == ["link", "real"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, ArtefactError])
def test_whatever_goes_wrong_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def write(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise error

    write_bytes(tmp_path / "file", b"good")
    with pytest.raises(error):
        write_atomically(tmp_path / "file", write)
    assert read_bytes(tmp_path / "file") == b"good"
    assert names(tmp_path) == ["file"]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"cannot write .*file: No such file or directory"):
        write_atomically(tmp_path / "file", lambda partial: None)


def test_places_where_nothing_can_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ArtefactError, match=r"cannot write .*file/a: (Not a directory|File exists)"
    ):
        write_bytes(tmp_path / "file" / "a", b"")
    with pytest.raises(ArtefactError, match=r"cannot write .*: File name too long"):
        write_bytes(tmp_path / ("x" * 300), b"")
    assert names(tmp_path) == ["file"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"cannot read .*none: No such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(ArtefactError, match=r"cannot read .*: Is a directory"):
        read_bytes(tmp_path)


def test_temporaries_of_the_killed_are_removed_an_hour_later(tmp_path: Path) -> None:
    for name in ("old", "young"):
        (tmp_path / f".quickstudy-{name}.partial").touch()
        (tmp_path / f".quickstudy-{name}-folder.partial" / "a").mkdir(parents=True)
    for path in tmp_path.glob(".quickstudy-old*"):
        past = path.stat().st_mtime - 3700
        os.utime(path, (past, past))
    write_bytes(tmp_path / "file", b"")
    assert names(tmp_path) == [
        ".quickstudy-young-folder.partial",
        ".quickstudy-young.partial",
        "file",
    ]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with exclusive(tmp_path):
            order.append("second")

    with exclusive(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
