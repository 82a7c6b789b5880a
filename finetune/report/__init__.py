"""A run as one page that can be read, printed and sent."""

from finetune.report.html import write_report
from finetune.report.sections import Section, Table, leaderboard
from finetune.report.write_map import write_map

__all__ = ["Section", "Table", "leaderboard", "write_map", "write_report"]
