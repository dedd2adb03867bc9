"""A published network becomes a checkpoint that answers like the published network."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.import_published import main
from models import build_model
from models.published import load_published, published_config
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.evaluate import check_data
from pipeline.eval.load import load
from pipeline.eval.protocol import protocol_of
from pipeline.train.device import to_model_input
from pipeline.train.published import UNKNOWN, import_published

THEIRS = runpy.run_path(str(Path(__file__).parents[1] / "models" / "test_published.py"))
"""The authors' layout, drawn and saved as they save it."""


@pytest.fixture(scope="module")
def state():
    return THEIRS["drawn"](THEIRS["layout"](50, classes=174, frames=4, width=4))


@pytest.fixture
def file(state, tmp_path):
    return THEIRS["save"](tmp_path / "checkpoint-best.pt", state, "module.")


@pytest.fixture
def dataset(tiny_root):
    """A prepared data set, as if it had the official number of classes."""
    tiny = PreparedDataset.open(tiny_root)
    return PreparedDataset(tiny.root, tiny.name, tuple(f"class {k}" for k in range(174)), "p", tiny.manifest, tiny.rows)


def test_it_answers_as_the_published_network_does(file, state, dataset, tmp_path):
    import_published(file, dataset, str(tmp_path / "ours"))
    network = load(str(tmp_path / "ours"))
    x_BTHWC = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
    model = build_model(published_config(state)).eval()
    load_published(model, state)
    with torch.inference_mode():
        x_BCTHW = to_model_input(torch.from_numpy(x_BTHWC), torch.device("cpu"), "fp32", False)
        wanted = model(x_BCTHW).logits_BK.numpy()
    assert np.array_equal(network.answer(x_BTHWC).logits_BK, wanted)
    assert network.classes == dataset.classes
    protocol = protocol_of(network.recipe.clip, "4x2")
    assert protocol.describe().startswith("2 clips of 4 frames, stride 1 (dense), short side 256, centre crop of 224")


def test_on_what_it_was_trained_is_not_known_and_said(file, dataset, tmp_path):
    import_published(file, dataset, str(tmp_path / "ours"))
    network = load(str(tmp_path / "ours"))
    with pytest.raises(UserError, match=f"Allowed: the passport {UNKNOWN}"):
        check_data(network, dataset, allow_other=False)
    check_data(network, dataset, allow_other=True)


def test_another_number_of_classes_is_refused(file, tiny_root, tmp_path):
    with pytest.raises(UserError, match=r"other classes than the data set. Received: 174 classes"):
        main([file, "--data", tiny_root, "--out", str(tmp_path / "ours")])
    assert not (tmp_path / "ours").exists()


def test_another_file_is_refused(tiny_root, tmp_path):
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="This is not an authors' ST-ABN checkpoint"):
        main([str(tmp_path / "other.pt"), "--data", tiny_root, "--out", str(tmp_path / "ours")])
