import json
import subprocess
import sys


def test_a_run_that_is_killed_again_and_again_loses_nothing():
    """The short form of `python -m tests.faults.kill --times 200`, in real processes."""
    command = [sys.executable, "-m", "tests.faults.kill", "--times", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 8, told
    assert not any(told[name] for name in ("unreadable", "lost intervals", "wrong metrics")), told
