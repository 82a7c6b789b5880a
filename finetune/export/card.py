"""The model card of a run: what the classifier is for, what it learned from, and how good it is.

The format is the Hub's: YAML that its search and its leaderboards read, then Markdown for people
(https://huggingface.co/docs/hub/model-cards). Every number is the run's own.
"""

import importlib.metadata
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.evaluation.intervals import wilson
from finetune.export.markdown import escape, last_name, table, without_paths
from finetune.runs import Run
from zoo.errors import ZooError
from zoo.registry.entry import Entry, HubSource
from zoo.registry.registry import resolve

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

__all__ = ["Origin", "model_card", "origin"]

#: Where a reader's own repository is meant.
_PLACEHOLDER = "OWNER/NAME"

_USE = """\
```python
import timm
import torch
from PIL import Image

model = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
data = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**data, is_training=False)

image = Image.open("photo.jpg").convert("RGB")
with torch.inference_mode():
    probabilities = model(transform(image)[None]).softmax(1)[0]
print(model.pretrained_cfg["label_names"][int(probabilities.argmax())], float(probabilities.max()))
```"""


@dataclass(frozen=True)
class Origin:
    """The pretrained network that a run started from.

    Attributes
    ----------
    name : str
        What to call it; never a place on this machine.
    repo : str or None
        Its repository on the Hub.
    licence : str or None
        The SPDX identifier of its weights' licence.
    training_data : str or None
        What they learned from.
    """

    name: str
    repo: str | None
    licence: str | None
    training_data: str | None


def origin(run: Run, config: dict[str, Any]) -> Origin:
    """Look up where a run's pretrained weights come from.

    Parameters
    ----------
    run : Run
    config : dict
        The saved model's ``config.json``.
    """
    stated = config.get("pretrained_cfg", {}).get("license")
    entry = _entry(run.model)
    if entry is None:
        return Origin(str(config["architecture"]), None, stated, None)
    repo = next((source.repo for source in entry.sources if isinstance(source, HubSource)), None)
    return Origin(run.model, repo, entry.licence or stated, entry.training_data)


def model_card(run: Run, config: dict[str, Any], repo: str | None = None) -> str:
    """Return a run's ``README.md`` for the Hub.

    Parameters
    ----------
    run : Run
    config : dict
        The saved model's ``config.json``.
    repo : str, optional
        The repository it is for.

    Returns
    -------
    str
        Names of classes are escaped, and no path of this machine is in it: of the data folder, its last name.
    """
    start = origin(run, config)
    data = without_paths(last_name(run.data.path)) or "images"
    sections = {
        f"{escape(start.name)} for {escape(data)}": _summary(run, start),
        "Use": _USE.format(repo=repo or _PLACEHOLDER),
        "Intended use": _intended(),
        "Data": _data(run, data),
        "Evaluation": _evaluation(run),
        "What to know before trusting the numbers": _warnings(run),
        "Training": _training(run, start),
        "Licence of the pretrained weights": _licence(start),
    }
    body = "\n\n".join(
        f"{'#' if i == 0 else '##'} {title}\n\n{text}"
        for i, (title, text) in enumerate(sections.items())
        if text
    )
    return f"---\n{_metadata(run, start, data).to_yaml()}\n---\n\n{body}\n"


def _entry(model: str) -> Entry | None:
    if model.startswith("local-dir:") or (
        ("/" in model or "\\" in model) and not model.startswith("hf-hub:")
    ):
        return None  # A folder of the user's.
    try:
        return resolve(model)
    except ZooError:  # Of a registry that is not at hand.
        return None


def _metadata(run: Run, start: Origin, data: str) -> "ModelCardData":
    from huggingface_hub import ModelCardData

    return ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "transfer-learning", "finetune-zoo"],
        license=start.licence.lower() if start.licence else None,
        base_model=start.repo,
        metrics=["accuracy", "f1"],
        model_name=f"{start.name} for {data}",
        eval_results=_results(run, data),
    )


def _results(run: Run, data: str) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    test = run.test
    interval = {"confidence_interval_95": [round(end, 4) for end in test.ci95], "method": test.ci_method}
    values: list[tuple[str, str, float, dict[str, Any] | None]] = [
        ("accuracy", "Accuracy", test.accuracy, {"n": test.n, **interval}),
        ("accuracy", "Balanced accuracy", test.balanced_accuracy, None),
        ("f1", "Macro F1", test.macro_f1, {"average": "macro"}),
    ]
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type="imagefolder",
            dataset_name=data,
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
            metric_args=arguments,
        )
        for kind, name, value, arguments in values
    ]


def _summary(run: Run, start: Origin) -> str:
    names = ", ".join(escape(name) for name in run.data.classes[:20])
    more = f" and {len(run.data.classes) - 20} others" if len(run.data.classes) > 20 else ""
    test = run.test
    return (
        f"Says which of {len(run.data.classes)} classes an image shows: {names}{more}. "
        f"{_percent(test.accuracy)} of {test.n} held-out images are right "
        f"(95% interval {_interval(test.ci95)}). Trained with "
        f"finetune-zoo, strategy `{run.strategy}`, from {escape(start.name)}. "
        "The softmax of the outputs is a calibrated probability."
    )


def _intended() -> str:
    return (
        "For images of the same kind as those it was trained on, each showing one of the classes. Every "
        "image is given one of these classes, also one that shows none of them. The accuracy below is that "
        "on images held out of the same data; on images from another camera, place or time it has to be "
        "measured again."
    )


def _data(run: Run, data: str) -> str:
    split, copies = run.split, run.data.copies
    lines = [
        f"{escape(data)}: {run.data.n_images} images, {split.n_train} for training and {split.n_test} held "
        f"out ({_SPLITS.get(split.kind, escape(split.kind))}).",
    ]
    if split.n_groups is not None:
        lines.append(f"Images of one thing form {split.n_groups} groups, which never straddle the split.")
    if copies is not None and copies.pairs:
        lines.append(
            f"{copies.images} images were found to be copies, in {copies.groups} groups; "
            f"{copies.held_out_with_copy} held-out images have a copy in training."
        )
    rows = [[escape(name), str(count)] for name, count in run.data.counts.items()]
    fingerprint = f"Fingerprint of the images and labels: `{run.data.fingerprint}`."
    return "\n\n".join([" ".join(lines), table(["class", "images"], rows), fingerprint])


#: What each kind of split (docs/run-folder.md) is, in words.
_SPLITS = {
    "folders": "the data's own split, by folders",
    "column": "the data's own split, by a column",
    "stratified": "a fifth of each class, at random",
    "grouped": "whole groups, at random",
}


def _evaluation(run: Run) -> str:
    test, reference = run.test, run.reference
    rows = [["accuracy", _percent(test.accuracy), _interval(test.ci95)]]
    if (alone := test.without_copies) is not None:
        name = f"accuracy without the held-out images that have a copy in training ({alone.n} images)"
        rows.append([name, _percent(alone.accuracy), _interval(alone.ci95)])
    rows += [
        ["balanced accuracy", _percent(test.balanced_accuracy), ""],
        ["macro F1", f"{test.macro_f1:.3f}", ""],
        ["log loss", f"{test.log_loss:.3f}", ""],
        ["expected calibration error", f"{test.ece:.3f}", ""],
        ["for comparison: majority class", _percent(reference.majority_accuracy), ""],
    ]
    if reference.raw_pixels_accuracy is not None:
        name = "for comparison: linear classifier on 32 x 32 pixels"
        rows.append([name, _percent(reference.raw_pixels_accuracy), ""])
    worth = 1.0 if test.n_effective is None else min(test.n_effective / test.n, 1.0)
    per_class = [
        [
            escape(name),
            str(scores.support),
            f"{scores.precision:.3f}",
            f"{scores.recall:.3f}",
            _interval(_recall_interval(scores.recall, scores.support, worth)),
        ]
        for name, scores in test.per_class.items()
    ]
    groups = "" if test.n_groups is None else f", in {test.n_groups} groups"
    return "\n\n".join(
        [
            f"Evaluated once, on {test.n} held-out images{groups}.",
            table(["", "value", "95% interval"], rows),
            table(["class", "held out", "precision", "recall", "95% interval"], per_class),
        ]
    )


def _recall_interval(recall: float, support: int, worth: float) -> tuple[float, float]:
    """Wilson's interval on a class's images, each of them worth so much of an independent one."""
    n = min(support, math.ceil(worth * support))
    return wilson(round(recall * n), n)


def _warnings(run: Run) -> str:
    shown = (without_paths(warning, run.data.path, str(run.path)) for warning in run.warnings)
    return "\n".join(f"- {escape(warning)}" for warning in shown)


def _training(run: Run, start: Origin) -> str:
    chosen = {
        "strategy": run.strategy,
        "pretrained network": start.name,
        "SHA-256 of its weights": run.weights_sha256,
        **{key: value for key, value in run.choice.items() if isinstance(value, str | int | float | bool)},
        "seed": run.seed,
        "date": run.created[:10],
        **dict(sorted(run.environment.versions.items())),
        "finetune-zoo": importlib.metadata.version("finetune-zoo"),
    }
    rows = [[escape(key), escape(without_paths(_plain(value)))] for key, value in chosen.items()]
    return table(["setting", "value"], rows)


def _licence(start: Origin) -> str:
    known = (
        f"`{start.licence}`" if start.licence else "not known: ask their author before you share this model"
    )
    learned = f" They were trained on {escape(start.training_data)}." if start.training_data else ""
    source = f" Source: [{start.repo}](https://huggingface.co/{start.repo})." if start.repo else ""
    return f"{escape(start.name)}: {known}.{learned}{source}"


def _plain(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _interval(ends: tuple[float, float]) -> str:
    return f"{_percent(ends[0])} to {_percent(ends[1])}"
