import pytest
import torch

from quickstudy.errors import RunError
from quickstudy.hub.checkpoints import Checkpoints


def tree(step):
    return {"step": step, "weights": torch.full((4,), float(step))}


def names(folder):
    return sorted(path.name.removesuffix(".safetensors") for path in folder.iterdir())


def step_of(found):
    return found.tree["step"]


def test_the_last_few_and_the_best_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.newest() is None
    for step in range(1, 8):
        checkpoints.save(step, tree(step), best=step in (2, 3))
    assert names(tmp_path / "checkpoints") == ["best-00000003", "step-00000006", "step-00000007"]
    found = checkpoints.newest()
    assert found.tree["weights"].tolist() == [7.0] * 4
    assert found.damaged == []


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_are_asked_for(tmp_path, keep):
    for step in range(1, 6):
        Checkpoints(tmp_path, keep).save(step, tree(step))
    assert len(names(tmp_path / "checkpoints")) == keep


def test_damage_is_passed_over_and_told(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (9, 10, 100_000_001):
        checkpoints.save(step, tree(step), best=step == 9)
    whole = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    newest_first = sorted(whole, key=lambda path: -int(path.stem.partition("-")[2]))
    left = [100_000_001, 10, 9]
    for count, path in enumerate(newest_first):
        found = checkpoints.newest()
        assert step_of(found) == left[count]
        assert len(found.damaged) == count
        middle = len(whole[path]) // 2
        path.write_bytes(whole[path][:middle] + b"?" + whole[path][middle + 1 :])
    with pytest.raises(RunError, match=r"no checkpoint can be read: .* is damaged.*; .*; "):
        checkpoints.newest()


def test_the_best_is_a_file_of_its_own(tmp_path):
    """Damage to the newest file must not be damage to the best one."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(4, tree(4), best=True)
    (tmp_path / "checkpoints" / "step-00000004.safetensors").write_bytes(b"")
    assert step_of(checkpoints.newest()) == 4
