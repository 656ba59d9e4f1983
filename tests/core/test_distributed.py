import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quickstudy.core.distributed import peers_there
from quickstudy.errors import PeerLost


def test_what_no_process_has_a_gradient_of_stays_without(tmp_path):
    """An optimizer skips it then, weight decay and all, as it does on one process."""
    script = Path(__file__).with_name("two_processes.py")
    meeting = (tmp_path / "meeting").as_uri()
    started = [
        subprocess.Popen(
            [sys.executable, script, meeting, str(rank)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    for said in told:
        numbers, grads, untouched = ast.literal_eval(said)
        assert numbers == [2.0, 20.0]
        assert grads == [[[3.0, 3.0]] * 2, [[5.0, 5.0]] * 2, None]
        assert untouched == [[1.0, 1.0]] * 2


def test_memory_that_runs_out_is_no_lost_process():
    with pytest.raises(torch.OutOfMemoryError), peers_there():
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(PeerLost, match="killed or has failed"), peers_there():
        raise RuntimeError("Connection closed by peer")
