"""The best classifier that some minutes can give."""

from finetune.auto.study import auto, resume_auto

__all__ = ["auto", "resume_auto"]
