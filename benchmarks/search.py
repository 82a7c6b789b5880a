"""Our sampler beside optuna's random and TPE samplers, at an equal number of trials, in one process.

    python benchmarks/search.py --data FOLDER [--trials 27] [--seeds 5] [--json]

Each sampler proposes a probe's head with a hidden layer (rate, L2, units, activation) from the same first
ranges. A trial is ten epochs outside the first fold; none is stopped early, so that all trials cost the same
and only the proposals differ. What is compared is the best loss found.
"""

import argparse
import json
import statistics

from finetune.search.sampler import STARTUP, draw, ranges
from finetune.search.space import OneOf
from finetune.search.stages import COARSE, Proposal

from finetune.data.dataset import read
from finetune.data.split import folds, hold_out
from finetune.method import Images, Task
from finetune.search.heads import MLP, Heads
from finetune.search.trials import Trial
from zoo.backbone import load
from zoo.features.fill import compute
from zoo.features.spaces import BackboneSpace


def task_of(data, model):
    dataset = read(data)
    found = compute(dataset.paths, [BackboneSpace(load(model))])
    y = dataset.labels[found.kept]
    train = hold_out(y).train
    paths = tuple(found.paths[i] for i in train)
    images = Images(paths, y[train], found.matrices[0][train])
    return Task(images, folds(y[train]), dataset.classes)


def loss_of(heads, values):
    """A value that stands for a lost loss is needed, for optuna's samplers take no infinity."""
    found = heads.measure(Proposal("fine", values), [])
    return found.folds[0].loss if found.folds else 10.0


def ours(heads, trials, seed):
    done = []
    for number in range(trials):
        startup = STARTUP if number < COARSE * trials else 0
        values = draw(MLP, ranges(MLP, done, done)[0], done, seed, number, startup)
        done.append(Trial(number, "fine", values, score=loss_of(heads, values)))
    return [trial.score for trial in done]


def optunas(kind):
    def run(heads, trials, seed):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}[kind](
            seed=seed
        )

        def objective(trial):
            values = {}
            for name, p in MLP.items():
                if isinstance(p, OneOf):
                    values[name] = trial.suggest_categorical(name, p.values)
                elif p.whole:
                    values[name] = trial.suggest_int(name, p.low, p.high, log=True)
                else:
                    values[name] = trial.suggest_float(name, p.low, p.high, log=True)
            return loss_of(heads, values)

        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=trials)
        return [t.value for t in study.trials]

    return run


SAMPLERS = {"ours": ours, "optuna random": optunas("random"), "optuna TPE": optunas("tpe")}


def main():
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--trials", type=int, default=27)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    task = task_of(given.data, given.model)
    result = {"trials": given.trials, "seeds": given.seeds}
    for name, run in SAMPLERS.items():
        best = [min(run(Heads(task, MLP, {}), given.trials, seed)) for seed in range(given.seeds)]
        result[name] = {"best": best, "mean": statistics.mean(best), "deviation": statistics.stdev(best)}
    if given.json:
        print(json.dumps(result))
        return
    print(f"best loss of {given.trials} trials, {given.seeds} seeds")
    for name in SAMPLERS:
        print(f"{name:15} {result[name]['mean']:.4f} ± {result[name]['deviation']:.4f}")


if __name__ == "__main__":
    main()
