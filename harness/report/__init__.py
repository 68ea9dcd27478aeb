"""One self-contained HTML report for each run folder."""

from harness.report.render import render_report, write_report

__all__ = ["render_report", "write_report"]
