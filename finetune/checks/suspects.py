"""Images that don't look like their class; :mod:`finetune.checks.ranking` says how they are found."""

from finetune.checks.contract import Finding, Subject
from finetune.checks.ranking import CONFIDENT, STRANGE

__all__ = ["check"]


def check(subject: Subject) -> list[Finding]:
    """Count the images that a person should look at.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    list of Finding
        ``labels`` and ``strange images``. The ranking of all images is ``subject.suspects``.
    """
    flagged = [suspect for suspect in subject.suspects if suspect.flagged]
    strange = [suspect for suspect in flagged if suspect.strangeness >= STRANGE]
    other = [s for s in flagged if s.label != s.looks_like and s.p_looks_like >= CONFIDENT]
    first = (
        f"{other[0].path} is labelled {other[0].label!r}, looks like {other[0].looks_like!r}" if other else ""
    )
    n = len(subject.dataset)
    return [
        Finding(
            check="suspects",
            name="labels",
            status="warn" if other else "pass",
            value=len(other),
            threshold=f"no image for which another class has a probability of {CONFIDENT:g} or more",
            meaning=f"{len(other)} of {n} images ({len(other) / n:.1%}), the worst first: {first}."
            if other
            else "Classifiers that never saw an image call none with confidence otherwise.",
            todo="Look at them in check.html and correct wrong labels. Remove none for being hard."
            if other
            else "",
            details=[vars(suspect) for suspect in other],
        ),
        Finding(
            check="suspects",
            name="strange images",
            status="warn" if strange else "pass",
            value=len(strange),
            threshold=f"no image {STRANGE:g} deviations farther from its neighbours than usual",
            meaning=f"{len(strange)} of {n} images are like nothing else here: "
            f"{max(strange, key=lambda s: s.strangeness).path} most of all."
            if strange
            else "Every image has others that are like it.",
            todo="Look whether they belong here: placeholders, screenshots and scans do not."
            if strange
            else "",
            details=[vars(suspect) for suspect in strange],
        ),
    ]
