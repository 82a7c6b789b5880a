"""What ``last-layers`` and ``full`` have in common: from a pretrained network to a trained one.

The learning rate and alpha are chosen on training images that are held out; then all training images are
trained on. This module imports nothing heavy, for the command line reads the methods' options from it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from finetune.method import Fitted, Method, Task
from finetune.training.settings import TrainingOptions

if TYPE_CHECKING:
    from finetune.training.bench import Bench, Prepared
    from finetune.training.chosen import Chosen
    from finetune.training.team import Team
    from zoo.backbone import Backbone

__all__ = ["NetworkMethod"]

OptionsT = TypeVar("OptionsT", bound=TrainingOptions)


class NetworkMethod(Method[OptionsT]):
    """A method that trains some of a network's own parameters; it says which, and on what inputs."""

    trains_network = True
    resumable = True

    @abstractmethod
    def trained(self, network: Any, backbone: Backbone) -> set[str]:
        """Return the names of the parameters that are trained.

        Raises
        ------
        OptionError
            If the network lacks what the options name.
        """

    @abstractmethod
    def prepare(
        self, task: Task, backbone: Backbone, network: Any, options: OptionsT, team: Team
    ) -> Prepared:
        """Return the trained part of a network and its inputs.

        Parameters
        ----------
        task : Task
        backbone : Backbone
            The network before the training.
        network : Module
            In the mode to train in; moved to the team's device.
        options : TrainingOptions
            Resolved.
        team : Team
        """

    def bench(self, task: Task, backbone: Backbone, team: Team | None = None) -> Bench:
        """Prepare the network; any number of trainings may then start from it.

        Parameters
        ----------
        task : Task
        backbone : Backbone
            The network before the training.
        team : Team, optional
            The processes that train together; by default found out.

        Raises
        ------
        OptionError
            If the network lacks what the options name.
        TrainingError
            If the network cannot be divided, or memory and disk are too small.
        """
        from finetune.training.bench import Bench
        from finetune.training.network import build
        from finetune.training.parts import freeze_all_but
        from finetune.training.team import Team

        team = team or Team()
        options = self.options.resolved(len(task.train))
        network = build(backbone, len(task.classes), task.seed)
        freeze_all_but(network, self.trained(network, backbone), options.bn)
        prepared = self.prepare(task, backbone, network, options, team)
        return Bench(task, backbone, options, network, prepared, team)

    def fit(self, task: Task, backbone: Backbone | None) -> Fitted:
        """Choose the learning rate and alpha, and train on all training images.

        Raises
        ------
        OptionError
            If the network lacks what the options name.
        TrainingError
            If the training diverges, or memory is too small.
        """
        assert backbone is not None
        chosen = self.choose(task, backbone)
        if self.options.cv:
            chosen.cross_validate()
        return chosen.fit()

    def choose(self, task: Task, backbone: Backbone) -> Chosen:
        """Choose the learning rate and alpha: the first half of :meth:`fit`, with what it raises."""
        from finetune.training.checkpoint import Checkpoints
        from finetune.training.choice import choose
        from finetune.training.chosen import Chosen
        from finetune.training.team import Team

        team = Team()
        bench = self.bench(task, backbone, team)
        checkpoints = Checkpoints(task.checkpoints, task.checkpoint_minutes, team.rank == 0)
        choice, warnings, validation = choose(
            bench, self.options.learning_rates(len(task.train)), task.folds, checkpoints
        )
        return Chosen(bench, checkpoints, choice, warnings, validation)
