"""The package as it is installed: its face, its version, what importing it costs."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import quickstudy

ROOT = Path(__file__).parent.parent


PUBLIC = """
ANIL ANP BDCSPN BOIL CAVIA CNP DKT FEAT IMAML LRD2 MAML MLP PTMAP R2D2 SGD TIM ALPaCA ArtefactError
BaselinePlusPlus BatchNorm Batching Blobs Client Conv4 DataError Episodes Evaluation Examples
FewShotClassifier FewShotRegressor FineTuning Fit Groups History Labelled LaplacianShot LearnedRates
Learner MAMLPlusPlus MatchingNet MetaBaseline MetaSGD NearestMean PeerLost Platform Pool Predictor
PriorFitted Progress ProtoMAML ProtoNet QuickstudyError RelationNet Reptile ResNet12 RunError
ServiceError
SetTransformer SimpleShot Sinusoids SoftKMeans StepRates SupportMean Task TaskError TaskList
TaskSource UpdateRule __version__ as_task check_leakage deploy descend evaluate examples fit
from_arrays from_dataset glyphs image_folder load omniglot recommend save stack table
"""


def test_the_face_is_what_was_promised() -> None:
    """A name that goes, or comes, is a decision: it changes here and in CHANGELOG.md."""
    assert quickstudy.__all__ == PUBLIC.split()


def test_every_name_of_the_face_is_there() -> None:
    for name in quickstudy.__all__:
        assert getattr(quickstudy, name) is not None
    assert sorted(quickstudy.__all__) == dir(quickstudy)


def test_importing_loads_no_torch() -> None:
    code = "import quickstudy, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_one_version() -> None:
    assert version("quickstudy") == quickstudy.__version__
    assert f"version: {quickstudy.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    tested = (ROOT / "constraints.txt").read_text().split("torch==")[1].strip()
    assert f'"torch>={tested.rpartition(".")[0]}"' in (ROOT / "pyproject.toml").read_text()


def test_it_is_typed() -> None:
    assert (Path(quickstudy.__file__).parent / "py.typed").is_file()
