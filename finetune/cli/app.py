"""The ``finetune`` command: from a labelled folder to a classifier and a number to trust.

One file a subcommand: each parses, calls one function of the library, and prints. Heavy imports stand inside
the functions, so that ``finetune --help`` answers at once.
"""

from collections.abc import Sequence

from cyclopts import App

from finetune.cli.auto import auto
from finetune.cli.check import check
from finetune.cli.compare import compare
from finetune.cli.curve import curve
from finetune.cli.predict import predict
from finetune.cli.push import push
from finetune.cli.report import report
from finetune.cli.resume import resume
from finetune.cli.search import search
from finetune.cli.train import train
from zoo.cli.console import epilogue, run

__all__ = ["app", "main"]

app = App(
    name="finetune",
    usage="Usage: finetune COMMAND [OPTIONS]",  # cyclopts would collect all options for this line
    help_epilogue=epilogue(
        "finetune --strategy probe",
        "finetune --strategy probe --data photos/ --out runs/first",
        "finetune --strategy knn --data photos/ --metric cosine",
        "finetune --strategy last-layers --data photos/ --layers 2",
        "finetune --strategy full --data photos/ --epochs 10 --lr 0.0003",
        "finetune --data photos/ --model efficientnet_lite2 --json > run.json",
        "finetune predict runs/first new-photos/",
    ),
    help_format="plaintext",
)
app.default(train)
app.command(train, name="train")
app.command(
    search,
    help_epilogue=epilogue(
        "finetune search --strategy probe --data photos/",
        "finetune search --strategy probe --head mlp --activation maxout --trials 200 --data photos/",
        "finetune search --strategy last-layers --minutes 5 --data photos/",
        "finetune search --strategy full --over lr weight_decay layer_decay --data photos/",
    ),
)
app.command(
    auto,
    help_epilogue=epilogue(
        "finetune auto --data photos/",
        "finetune auto --data photos/ --minutes 20 --models efficientnet_lite0 resnet50 --allow-download",
    ),
)
app.command(resume, help_epilogue=epilogue("finetune resume runs/photos-full-001"))
app.command(
    compare,
    help_epilogue=epilogue(
        "finetune compare --data photos/",
        "finetune compare --data photos/ --methods svm probe --model efficientnet_lite0 resnet50",
        "finetune compare --data photos/ --group-by '([a-z]+)-[0-9]+' --markdown table.md",
    ),
)
app.command(
    predict,
    help_epilogue=epilogue(
        "finetune predict runs/first new-photos/",
        "finetune predict runs/first a.jpg 'more/**/*.png' --top 5 --json",
        "find photos -name '*.jpg' -newer last | finetune predict runs/first - -o predictions.csv",
    ),
)
app.command(
    check,
    help_epilogue=epilogue(
        "finetune check --data photos/",
        "finetune check --data photos/ --model efficientnet_lite2 --json > check.json",
        "finetune check --data photos/ --strategy last-layers --layers 2 --lr 0.001",
    ),
)
app.command(
    push,
    help_epilogue=epilogue(
        "finetune push runs/first me/ants-bees --dry-run",
        "finetune push runs/first me/ants-bees --private",
    ),
)
app.command(
    curve,
    help_epilogue=epilogue(
        "finetune curve --data photos/",
        "finetune curve --data photos/ --factor 4 --chart curve.svg --json",
    ),
)
app.command(report, help_epilogue=epilogue("finetune report runs/first"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``finetune`` command and return its exit code: 0, or 2 for what the user can fix.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of this process.
    """
    return run(app, argv)
