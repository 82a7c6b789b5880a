"""A run as one page that can be read, printed and sent."""

from finetune.report.html import write_report

__all__ = ["write_report"]
