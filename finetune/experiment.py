"""The one way in: from labelled images and networks to what every method is given.

Read, extract, drop what cannot be read, group, split, fold: `fit`, `search`, `compare` and `check` all start
here, so that the same data, seed and options give the same split, groups and folds in each of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.data.class_names import LABELS
from finetune.method import Images, Method, Task
from zoo.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune.data.copies.grouping import Grouped
    from finetune.data.dataset import Dataset
    from finetune.data.split import Folds, Split
    from zoo.backbone import Backbone
    from zoo.features.spaces import BackboneSpace, Space
    from zoo.registry.registry import Registry

__all__ = ["DEFAULT_MODEL", "Clock", "Experiment", "Request", "data_name", "prepare"]

DEFAULT_MODEL = "efficientnet_lite0"

#: Images whose features are computed before it is asked whether to go on.
AT_ONCE = 256


@dataclass(frozen=True)
class Request:
    """What an experiment is made from: all that the features, the split and the folds depend on.

    Attributes
    ----------
    data : str
        As for :func:`finetune.data.read.read`.
    models : tuple of str
        As for :func:`zoo.load`.
    seed : int
        Of the split, the folds and anything else random.
    group_by : str or None
        As for :func:`finetune.data.groups.group_by`.
    n_folds : int
        Of the cross-validation; fewer where a class has fewer images or groups.
    strict : bool
        Raise for files that are not images, instead of leaving them out.
    engine, precision : str
        As for :func:`zoo.engines.build`.
    labels : str
        Which folder names the class, as for :func:`finetune.data.folder.read_folder`.
    keep_masks : bool
        Keep images that are masks of others.
    copies : str
        What becomes of images that show one thing, as for
        :func:`finetune.data.copies.grouping.apply_copies`.
    view : str
        Which part of each image is the network's input, as for :meth:`zoo.backbone.Backbone.with_view`.
    tta : str
        ``mirror`` for features that are the mean over an image and its mirror image; or ``none``.

    Raises
    ------
    DataError
        If the seed is negative, there are less than two folds, or `labels` is unknown.
    """

    data: str = "demo"
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    seed: int = 0
    group_by: str | None = None
    n_folds: int = 5
    strict: bool = False
    engine: str = "auto"
    precision: str = "fp32"
    labels: str = "top"
    keep_masks: bool = False
    copies: str = "group"
    view: str = "crop"
    tta: str = "none"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise DataError(f"--seed is {self.seed}, which is negative.", "Give a seed from 0 upwards.")
        if self.n_folds < 2:
            raise DataError(f"--folds is {self.n_folds}, which is too few.", "Give 2 or more.")
        if self.copies not in ("group", "drop", "ignore"):
            raise DataError(f"--copies is {self.copies!r}.", "Give one of group, drop, ignore.")
        for name, known in (("view", ("crop", "whole")), ("tta", ("none", "mirror"))):
            if getattr(self, name) not in known:
                problem = f"--{name} is {getattr(self, name)!r}."
                raise DataError(problem, f"Give one of {', '.join(known)}.")
        if self.labels not in LABELS:
            raise DataError(f"--labels is {self.labels!r}.", f"Give one of {', '.join(LABELS)}.")

    def words(self) -> list[str]:
        """Return the words of a command line that make the same request."""
        words = ["--data", self.data, "--model", *self.models]
        words += [] if not self.seed else ["--seed", str(self.seed)]
        words += [] if self.group_by is None else ["--group-by", self.group_by]
        words += [] if self.n_folds == 5 else ["--folds", str(self.n_folds)]
        words += ["--strict"] if self.strict else []
        words += [] if self.labels == "top" else ["--labels", self.labels]
        words += ["--keep-masks"] if self.keep_masks else []
        words += [] if self.copies == "group" else ["--copies", self.copies]
        words += [] if self.view == "crop" else ["--view", self.view]
        words += [] if self.tta == "none" else ["--tta", self.tta]
        words += [] if self.engine == "auto" else ["--engine", self.engine]
        words += [] if self.precision == "fp32" else ["--precision", self.precision]
        return words


@dataclass(frozen=True, eq=False)
class Experiment:
    """Readable images with their features, groups, split and folds.

    Attributes
    ----------
    request : Request
    dataset : Dataset
        The n readable images.
    digests : list of str
        SHA-256 of each file.
    backbones : tuple of Backbone
        The networks, of which the first is the usual one.
    spaces : tuple of BackboneSpace
        What computes their features.
    matrices : dict of str to (n, d) float32 array
        Features by the network's name; ``pixels``: colours on 32 x 32 pixels, from 0 to 1; ``statistics``: as
        :class:`finetune.data.statistics.ImageStatistics` computes them.
    stages : dict of str to (n, D) float32 array
        Last features and beside them the average and maximum of every stage, by the network's name; empty
        where nothing needs them.
    copies : Grouped
        Which images show one thing.
    split : Split
        Which images train and which are held out.
    folds : Folds
        The cross-validation of the training images.
    warnings : list of str
        What the user should know before trusting the result; what is in the folder is in
        ``dataset.notices``.
    seconds : dict of str to float
        What reading, loading and extracting took.
    log : callable
        Given one line at a time of what the user may want to know.
    """

    request: Request
    dataset: Dataset
    digests: list[str]
    backbones: tuple[Backbone, ...]
    spaces: tuple[BackboneSpace, ...]
    matrices: dict[str, NDArray[np.float32]]
    stages: dict[str, NDArray[np.float32]]
    copies: Grouped
    split: Split
    folds: Folds
    warnings: list[str]
    seconds: dict[str, float]
    log: Callable[[str], None]

    @property
    def backbone(self) -> Backbone:
        """The first network."""
        return self.backbones[0]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over classes, splits and image contents."""
        from finetune.data.dataset import fingerprint

        return fingerprint(self.dataset, self.digests)

    def with_network(
        self,
        backbone: Backbone,
        features: str = "last",
        view: str = "crop",
        tta: str = "none",
        goes_on: Callable[[float], bool] = lambda share: True,
    ) -> Experiment | None:
        """Return the same images, split and folds with the features of one more network, or of another view.

        Parameters
        ----------
        backbone : Backbone
            Its features take the place of what there is by its name.
        features : str, optional
            ``last``, or ``stages`` for the features of all stages too.
        view, tta : str, optional
            As for :class:`Request`, which they replace there.
        goes_on : callable, optional
            Given the share of the images that are done, from time to time, returns whether to go on.

        Returns
        -------
        Experiment or None
            None where it did not go on; what was computed is stored.

        Raises
        ------
        UnreadableImage
            If an image cannot be read any more.
        """
        from zoo.features.fill import compute
        from zoo.features.mirror import Mirrored
        from zoo.features.spaces import BackboneSpace

        request = replace(self.request, view=view, tta=tta)
        seen = backbone.with_view(view)
        space = BackboneSpace(seen, request.engine, request.precision, self.log, features)
        spaces: list[Space] = [space, Mirrored(space)] if tta == "mirror" else [space]
        paths = self.dataset.paths
        for start in range(0, len(paths) - AT_ONCE, AT_ONCE):
            compute(paths[start : start + AT_ONCE], spaces)
            if not goes_on((start + AT_ONCE) / len(paths)):
                return None
        found = compute(paths, spaces)
        if found.skipped:
            raise next(iter(found.skipped.values()))
        names = [seen.name, _mirrored(seen)]
        matrices, stages = _features(dict(zip(names, found.matrices, strict=False)), [seen], features)
        return replace(
            self,
            request=request,
            backbones=(*(b for b in self.backbones if b.name != seen.name), seen),
            spaces=(*(s for s in self.spaces if s.backbone.name != seen.name), space),
            matrices={**self.matrices, **matrices},
            stages={**self.stages, **stages},
        )

    def inputs(self, method: Method, backbone: Backbone | None = None) -> NDArray[np.float32]:
        """Return what a method works on, of all images: a network's features, or pixels."""
        if method.inputs == "pixels":
            return self.matrices["pixels"]
        return (self.stages if method.features == "stages" else self.matrices)[
            (backbone or self.backbone).name
        ]

    def identity(self, method: Method, backbone: Backbone) -> dict[str, Any]:
        """Return what the features that a method works on depend on besides the images."""
        space = next(space for space in self.spaces if space.backbone is backbone)
        identity = space.identity if method.features == "stages" else space.blocks[0][0]
        return identity if self.request.tta == "none" else {**identity, "tta": self.request.tta}

    def images(self, X: NDArray[np.float32], rows: NDArray[np.int64], n_last: int | None = None) -> Images:
        """Return some of the images, with their rows of `X`, of which `n_last` columns are last features."""
        dataset = self.dataset
        groups = None if dataset.groups is None else dataset.groups[rows]
        return Images(tuple(dataset.paths[i] for i in rows), dataset.labels[rows], X[rows], groups, n_last)

    def task(self, method: Method, backbone: Backbone | None = None, **settings: Any) -> Task:
        """Return the training images with their folds, as a method is given them.

        Parameters
        ----------
        method : Method
        backbone : Backbone, optional
            Whose features; by default the first network's.
        **settings
            Other fields of :class:`finetune.method.Task`.
        """
        settings = {
            "seed": self.request.seed,
            "engine": self.request.engine,
            "precision": self.request.precision,
            "tta": self.request.tta,
            "log": self.log,
            **settings,
        }
        train = self._images(method, backbone, self.split.train)
        return Task(train, self.folds, self.dataset.classes, **settings)

    def held_out(self, method: Method, backbone: Backbone | None = None) -> Images:
        """Return the held-out images, to be evaluated once."""
        return self._images(method, backbone, self.split.test)

    def _images(self, method: Method, backbone: Backbone | None, rows: NDArray[np.int64]) -> Images:
        n_last = (backbone or self.backbone).num_features if method.features == "stages" else None
        return self.images(self.inputs(method, backbone), rows, n_last)

    def repeated_folds(self, repeats: int) -> Folds:
        """Return folds of the training images, repeated with other draws; the first are `folds`."""
        from finetune.data.split import folds

        rows = self.split.train
        groups = None if self.dataset.groups is None else self.dataset.groups[rows]
        return folds(self.dataset.labels[rows], self.request.n_folds, groups, self.request.seed, repeats)


def prepare(
    request: Request,
    *,
    registry: Registry | None = None,
    log: Callable[[str], None] | None = None,
    more_spaces: Sequence[Space] = (),
    backbones: Sequence[Backbone] | None = None,
    methods: Sequence[Method] = (),
    leader_first: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Experiment:
    """Read, extract, drop what cannot be read, group, split, fold.

    Parameters
    ----------
    request : Request
    registry : Registry, optional
        Where to look the models up.
    log : callable, optional
        Given one line at a time of what the user may want to know.
    more_spaces : sequence of Space, optional
        What else to compute of each image in the same pass; goes into `matrices` by the name of its class.
    backbones : sequence of Backbone, optional
        The request's networks, where they are loaded already.
    methods : sequence of Method, optional
        What will be given tasks: where one of them reads the features of all stages, they are computed too.
    leader_first : callable, optional
        Makes a context in which, of several processes, the first one extracts before the others.

    Raises
    ------
    ZooError
        For whatever the user can fix.
    """
    from finetune.data.copies import find_copies
    from finetune.data.copies.grouping import apply_copies
    from finetune.data.groups import group_by
    from finetune.data.read import check_counts
    from finetune.data.statistics import ImageStatistics
    from zoo.backbone import load
    from zoo.features.fill import compute
    from zoo.features.mirror import Mirrored
    from zoo.features.spaces import BackboneSpace, RawPixels

    log = log or (lambda line: None)
    clock = Clock()
    _check_tta(request, methods)
    features = "stages" if any(method.features == "stages" for method in methods) else "last"
    with clock.phase("data"):
        dataset = _read(request)
    with clock.phase("model"):
        loaded = tuple(backbones or [load(name, registry=registry) for name in request.models])
        if request.view != "crop":
            loaded = tuple(backbone.with_view(request.view) for backbone in loaded)
    with clock.phase("features"), leader_first():
        spaces = tuple(BackboneSpace(b, request.engine, request.precision, log, features) for b in loaded)
        mirrored = [Mirrored(space) for space in spaces] if request.tta == "mirror" else []
        found = compute(dataset.paths, [*spaces, RawPixels(), ImageStatistics(), *more_spaces, *mirrored])
    names = [*(b.name for b in loaded), "pixels", "statistics", *(type(s).__name__ for s in more_spaces)]
    names += [_mirrored(backbone) for backbone, _ in zip(loaded, mirrored, strict=False)]
    matrices = dict(zip(names, found.matrices, strict=True))
    dataset = _readable(dataset, found.skipped, request.strict)
    dataset, kept = _noticed(dataset, matrices["statistics"], request.keep_masks)
    check_counts(dataset)
    digests = [found.digests[i] for i in kept]
    matrices = _rows(matrices, kept)
    if request.group_by is not None:
        dataset = group_by(dataset, request.group_by)
    with clock.phase("copies"), leader_first():
        # By the image's own features, so that --tta changes no group.
        own_features = matrices[names[0]][:, : loaded[0].num_features]
        alike = find_copies(dataset.paths, digests, own_features, matrices["pixels"])
    grouped = apply_copies(dataset, alike, request.copies)
    # Where the data bring their split, a copy on both sides of it is no fault of the user's own groups.
    own = dataset.subset(grouped.kept).groups
    dataset, kept = grouped.dataset, grouped.kept
    for notice in dataset.notices:
        log(notice.message)
    split, dealt = _split(dataset, own, request)
    matrices, stages = _features(_rows(matrices, kept), loaded, features)
    return Experiment(
        request=request,
        dataset=dataset,
        digests=[digests[i] for i in kept],
        backbones=loaded,
        spaces=spaces,
        matrices=matrices,
        stages=stages,
        copies=grouped,
        split=split,
        folds=dealt,
        warnings=list(filter(None, [split.warning, dealt.warning, *grouped.warnings])),
        seconds=clock.phases,
        log=log,
    )


def _rows(
    matrices: dict[str, NDArray[np.float32]], kept: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Return some rows of each matrix; nothing is copied where all are kept, in their order, as mostly."""
    return {name: X if len(kept) == len(X) else X[kept] for name, X in matrices.items()}


def _features(
    matrices: dict[str, NDArray[np.float32]], backbones: Sequence[Backbone], features: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Return the matrices with the networks' last features only, and all stages' where they were read.

    Features of mirror images are averaged with the others.
    """
    from zoo.features.mirror import averaged

    stages = {}
    for backbone in backbones:
        if (mirrored := matrices.pop(_mirrored(backbone), None)) is not None:
            matrices[backbone.name] = averaged(matrices[backbone.name], mirrored)
        if features == "stages":
            stages[backbone.name] = matrices[backbone.name]
            matrices[backbone.name] = stages[backbone.name][:, : backbone.num_features]
    return matrices, stages


def _mirrored(backbone: Backbone) -> str:
    """Name the matrix of a network's features of mirror images."""
    return f"{backbone.name} of mirror images"


def _check_tta(request: Request, methods: Sequence[Method]) -> None:
    """Refuse to average features where a method trains what computes them."""
    for method in methods:
        if request.tta != "none" and method.trains_network:
            raise DataError(
                f"{method.name} trains the network; --tta {request.tta} averages features of a frozen one.",
                "Leave out --tta, or use another --strategy, such as probe.",
            )


def _read(request: Request) -> Dataset:
    """Read the data set, without masks that their names give away."""
    from finetune.data.masks import masks_beside_photographs, without_masks
    from finetune.data.read import check_counts, read

    dataset = read(request.data, request.labels)
    if not request.keep_masks:
        dataset, _ = without_masks(dataset, masks_beside_photographs(dataset))
        check_counts(dataset)
    return dataset


def _split(dataset: Dataset, own_groups: NDArray[Any] | None, request: Request) -> tuple[Split, Folds]:
    """Hold images out, and deal the others into folds."""
    from finetune.data.split import folds, hold_out

    split = hold_out(
        dataset.labels,
        dataset.splits,
        dataset.groups if dataset.splits is None else own_groups,
        request.seed,
        splits_from=dataset.splits_from,
    )
    groups = None if dataset.groups is None else dataset.groups[split.train]
    return split, folds(dataset.labels[split.train], request.n_folds, groups, request.seed)


def _noticed(
    dataset: Dataset, statistics: NDArray[np.float32], keep_masks: bool
) -> tuple[Dataset, NDArray[np.int64]]:
    """Leave out masks that are found by their pixels, and report unusual images; return what remains."""
    import numpy as np

    from finetune.data.masks import masks_by_colours, without_masks
    from finetune.data.quality import quality_notices

    kept = np.arange(len(dataset))
    if not keep_masks:
        dataset, kept = without_masks(dataset, masks_by_colours(dataset, statistics))
    return dataset.noting(*quality_notices(dataset, statistics[kept])), kept


def data_name(data: str | os.PathLike[str]) -> str:
    """Return what folders that are made from some data are named after."""
    return Path(data).resolve().stem if os.fspath(data) != "demo" else "demo"


class Clock:
    """Seconds by phase.

    Attributes
    ----------
    phases : dict of str to float
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is done within, under a name; what is done under one name adds up."""
        start = time.perf_counter()
        yield
        self.phases[name] = round(self.phases.get(name, 0.0) + time.perf_counter() - start, 3)

    def seconds(self) -> dict[str, float]:
        """Return the phases, and ``total`` since the clock was made."""
        return {**self.phases, "total": round(time.perf_counter() - self._start, 3)}


def _readable(dataset: Dataset, skipped: dict[int, Any], strict: bool) -> Dataset:
    """Leave out files that are not images, or raise if that is what the user wants."""
    if strict and (skipped or dataset.skipped):
        names = [f"{dataset.name_of(dataset.paths[i])} ({error.reason})" for i, error in skipped.items()]
        names += [f"{file.path} ({file.reason})" for file in dataset.skipped]
        listed = "; ".join(names[:10]) + (f"; and {len(names) - 10} more" if len(names) > 10 else "")
        raise DataError(
            f"{len(names)} files are not readable images: {listed}.",
            "Fix or remove them, or leave out --strict to skip them.",
        )
    dataset = dataset.drop(list(skipped), [error.reason for error in skipped.values()])
    if not dataset.skipped:
        return dataset
    from finetune.data.notices import Notice

    notice = Notice.about(
        "not readable",
        [dataset.name_of(file.path) for file in dataset.skipped],
        "file is not a readable image and is left out",
        "files are not readable images and are left out",
    )
    return dataset.noting(notice)
