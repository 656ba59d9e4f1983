import errno
import json
import os
import resource
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faults.disk import Disk

from quickstudy.errors import ArtefactError, RunError
from quickstudy.hub.recording import Recorder, recorded


def rows(first, last):
    return [{"step": n, "loss": n / 3, "seconds": n / 7} for n in range(first, last + 1)]


def write(folder, told, sizes=None):
    recorder = Recorder(folder, sizes)
    for row in told:
        recorder.append(row)
    settled = recorder.settle()
    recorder.close()
    return settled


def test_rows_come_back_in_order_with_their_times(tmp_path):
    sizes = write(tmp_path, rows(1, 5000))
    assert recorded(tmp_path) == rows(1, 5000)
    assert sizes == {name: (tmp_path / name).stat().st_size for name in os.listdir(tmp_path)}


def test_what_was_computed_is_apart_from_when(tmp_path):
    for name, late in (("a", 0.0), ("b", 9.5)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, [{**row, "seconds": row["seconds"] + late} for row in rows(1, 9)])
    a, b = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "ab")
    assert a == b
    assert b"seconds" not in a
    assert recorded(tmp_path / "a") != recorded(tmp_path / "b")


def test_a_record_goes_on_where_the_checkpoint_was(tmp_path):
    sizes = write(tmp_path, rows(1, 2))
    write(tmp_path, rows(3, 4), sizes)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert recorded(tmp_path) == rows(1, 4)
    write(tmp_path, rows(3, 3), sizes)
    assert recorded(tmp_path) == rows(1, 3)
    for name in ("metrics.jsonl", "times.jsonl"):
        with pytest.raises(RunError, match=rf"{name} has .* bytes, the checkpoint wants 999"):
            Recorder(tmp_path, {name: 999})


def test_nothing_is_there_before_the_first_step(tmp_path):
    assert recorded(tmp_path) == []
    assert write(tmp_path, []) == {"metrics.jsonl": 0, "times.jsonl": 0}


def test_a_disk_that_takes_no_more_stops_the_run(tmp_path):
    """The error comes to who records, and no row stands behind one that was lost."""
    recorder = Recorder(tmp_path)
    recorder.append(rows(1, 1)[0])
    recorder.settle()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        for row in rows(2, 20):
            with suppress(ArtefactError):  # as soon as the thread has met it
                recorder.append(row)
        with pytest.raises(ArtefactError, match=r"cannot write .*: File too large"):
            recorder.settle()
        with pytest.raises(ArtefactError, match=r"File too large"):
            recorder.append(rows(21, 21)[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(ArtefactError, match=r"File too large"):
        recorder.close()
    steps = [row["step"] for row in recorded(tmp_path)]
    assert steps == [*range(1, len(steps) + 1)]
    assert len(steps) < 5


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_record_cut_anywhere_is_its_beginning(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    write(folder, rows(1, 6))
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(whole[:cut])
    left = recorded(folder)
    assert left == rows(1, len(left))
    assert len(left) >= whole[:cut].count(b"\n")


def test_rows_that_are_no_json_objects_are_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('[1]\n{"step": 1}\nnull\n', encoding="utf-8")
    (tmp_path / "times.jsonl").write_text('3\n{"step": 2, "seconds": 1}\n', encoding="utf-8")
    assert recorded(tmp_path) == [json.loads('{"step": 1}')]
    for name in ("metrics.jsonl", "times.jsonl"):
        held = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"\x80\x04\xff\n" + b"[" * 100_000 + b"\n" + held)
    assert recorded(tmp_path) == [{"step": 1}]


def test_files_that_cannot_be_closed_or_cut_are_named(tmp_path):
    """A disk may say only then that it is full; both files are closed none the less."""
    with Disk(tmp_path) as disk:
        sizes = write(tmp_path, rows(1, 1))
    last = len(disk.calls) - 1
    full = r"^cannot write \S+\.jsonl: No space left on device$"
    for place in (last - 1, last):
        folder = tmp_path / str(place)
        folder.mkdir()
        with pytest.raises(ArtefactError, match=full), Disk(folder, errno.ENOSPC, place) as disk:
            write(folder, rows(1, 1))
        assert sorted(disk.calls[-2:]) == ["close metrics.jsonl", "close times.jsonl"]
        assert recorded(folder) == rows(1, 1)
    for place, name in ((1, "times"), (3, "metrics")):
        broken = rf"^cannot write \S+{name}\.jsonl: Input/output error$"
        with pytest.raises(ArtefactError, match=broken), Disk(tmp_path, errno.EIO, place) as disk:
            Recorder(tmp_path, {file: size - 1 for file, size in sizes.items()})
        assert disk.calls[place] == f"truncate {name}.jsonl"
