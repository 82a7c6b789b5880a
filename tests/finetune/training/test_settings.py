"""Settings stand once: what is chosen by the number of images, and what is refused."""

import importlib.util

import pytest

from finetune.errors import OptionError
from finetune.methods import METHODS, make_method
from finetune.training.settings import TrainingOptions

DECIDED = {  # by hand from docs/training.md: epochs, the first learning rate, layer decay
    ("last-layers", 245): (20, 3e-4, 1.0),
    ("last-layers", 1651): (12, 1e-3, 1.0),
    ("last-layers", 50_000): (8, 1e-3, 1.0),
    ("full", 245): (8, 3e-4, 0.9),
    ("full", 1200): (6, 1e-3, 0.9),
    ("full", 50_000): (5, 1e-3, 0.9),
}


@pytest.mark.parametrize(("case", "wanted"), DECIDED.items(), ids=str)
def test_the_number_of_images_decides_on_what_is_not_given(case, wanted):
    name, n_images = case
    options = make_method(name).options.resolved(n_images)
    assert (options.epochs, options.lr, options.layer_decay) == wanted


def test_what_is_given_stays():
    options = make_method("full", lr=0.5, epochs=3, layer_decay=0.7)
    assert options.options.resolved(100) == options.options
    assert options.options.learning_rates(100) == (0.5,)


def test_resolving_twice_changes_nothing():
    once = make_method("last-layers").options.resolved(100)
    assert once.resolved(100_000) == once


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_a_folder_for_tensorboard_needs_tensorboard():
    with pytest.raises(OptionError, match=r"not installed.*pip install"):
        make_method("full", tensorboard="runs")


BAD = {
    "full": [
        *({"lr": value} for value in (0, -1, float("nan"), float("inf"), 1e6)),
        *({"epochs": value} for value in (0, -3)),
        {"img_size": 7},
        {"img_size": 5000},
        {"initial_size": 7},
        {"augment": "wild"},
        {"bn": "melted"},
        {"head_init": "cold"},
        {"opt": "lion"},
        {"sched": "sine"},
        {"batch_size": 0},
        {"label_smoothing": 1},
        {"label_smoothing": float("nan")},
        {"model_ema_decay": 1},
        {"momentum": 1},
        {"warmup_ratio": 1},
        {"layer_decay": 0},
        {"clip_grad": -1},
        {"grad_accum_steps": 33},
        {"weight_decay": -1},
        {"mixup": float("nan")},
        {"cutmix": -1},
        {"patience": 0},
        {"class_weight": "heavy"},
        {"sampling": "some"},
        {"layers": 1},
        {"num_views": 3},
        {"unfreeze": ("layer4",)},
        {"l2": 0.1},
    ],
    "last-layers": [
        {"num_views": 0},
        {"layers": -1},
        {"unfreeze": ()},
        {"layers": 1, "unfreeze": ("layer4",)},
        {"cutmix": 0.5},
        {"img_size": 64},
        {"hidden": 5},
    ],
}
CASES = [(name, values) for name, cases in BAD.items() for values in cases]


@pytest.mark.parametrize(("name", "values"), CASES, ids=str)
def test_what_is_out_of_range_is_named_with_the_next_step(name, values):
    with pytest.raises(OptionError) as raised:
        make_method(name, **values)
    for option in values:
        assert f"--{option.replace('_', '-')}" in str(raised.value)
    assert raised.value.next_step


def test_every_fault_is_named_at_once():
    with pytest.raises(OptionError, match=r"--lr.*--epochs.*--opt"):
        make_method("full", lr=-1, epochs=0, opt="lion")


@pytest.mark.parametrize("name", ["last-layers", "full"])
def test_no_default_depends_on_the_processor(name):
    """Whatever machine: the defaults are those of the class, and bfloat16 has to be asked for."""
    assert issubclass(METHODS[name].Options, TrainingOptions)
    assert METHODS[name].Options.defaults()["amp"] is False
