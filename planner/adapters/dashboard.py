"""A live page of a planner: load and forecast, replicas, latencies, the last decisions.

One self-contained HTML page that reloads itself; nothing is fetched from elsewhere.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from contracts.errors import PermanentError
from planner.adapters.connected import TickReport
from planner.core.config import PlannerConfig

_KEPT = 720
_SHOWN = 30
_REFRESH_S = 30
_WIDTH, _HEIGHT, _LEFT = 900.0, 160.0, 50.0
_BAND_SDS = 1.64
_SECONDS_PER_HOUR = 3600.0
_STYLE = (
    "body{font:14px sans-serif;margin:1.5em;max-width:60em}table{border-collapse:collapse}"
    "td,th{padding:2px 8px;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}"
    "svg{display:block;margin:.3em 0 1em}.note{color:#555}"
)
Series = Sequence[tuple[float, float]]


class Dashboard:
    """Keeps the last decisions and draws them.

    Args:
        config: of the planner.
        title: what it scales.
    """

    def __init__(self, config: PlannerConfig, title: str) -> None:
        self._config = config
        self._title = title
        self._reports: deque[TickReport] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()
        self._gpu_hours = 0.0

    def __call__(self, report: TickReport) -> None:
        """Take in one decision."""
        with self._lock:
            if self._reports:
                last = self._reports[-1].decision
                elapsed_s = max(0.0, report.decision.now_s - last.now_s)
                self._gpu_hours += self._gpus(self._reports[-1]) * elapsed_s / _SECONDS_PER_HOUR
            self._reports.append(report)

    def page(self) -> str:
        """The page as it is now."""
        with self._lock:
            reports, gpu_hours = list(self._reports), self._gpu_hours
        parts = [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            f"<meta http-equiv='refresh' content='{_REFRESH_S}'>",
            f"<title>Planner of {escape(self._title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>Planner of {escape(self._title)}</h1>",
            f"<p class='note'>configuration {self._config.digest[:12]}, policy "
            f"{escape(self._config.policy.value)}, {gpu_hours:.2f} GPU-hours so far</p>",
        ]
        if not reports:
            return "".join([*parts, "<p>No decision yet.</p></body></html>"])
        parts.append(f"<p>{escape(reports[-1].decision.reason)}</p>")
        parts += [_chart(title, lines, band) for title, lines, band in self._charts(reports)]
        parts += [_table(reports[-_SHOWN:]), "</body></html>"]
        return "".join(parts)

    def _charts(
        self, reports: Sequence[TickReport]
    ) -> Iterator[tuple[str, dict[str, Series], tuple[Series, Series] | None]]:
        def line(name: str) -> Series:
            return [
                (r.decision.now_s, r.decision.figures[name])
                for r in reports
                if name in r.decision.figures
            ]

        mean, spread = line("forecast_rate_per_s"), line("forecast_sd_per_s")
        band = None
        if len(mean) == len(spread):
            wide = [
                (at, mid, _BAND_SDS * sd) for (at, mid), (_, sd) in zip(mean, spread, strict=True)
            ]
            band = ([(t, max(0.0, m - s)) for t, m, s in wide], [(t, m + s) for t, m, s in wide])
        yield (
            "Requests/s: arrivals, and forecast one lead time ahead with nine of ten",
            {"arrivals": line("rate_per_s"), "forecast": mean},
            band,
        )
        for pool in self._config.pools:
            role = pool.role.value
            names = ("wanted", "target", "position", "ready")
            lines = {name: line(f"{role}_{name}_replicas") for name in names}
            yield f"Replicas, {role}: wanted, target, ordered and ready", lines, None
        target = self._config.sla
        for text, name, bound in (
            ("TTFT", "ttft_ms_mean", target.ttft_ms),
            ("ITL", "itl_ms_mean", target.itl_ms),
        ):
            seen = line(name)
            if seen:
                goal = [(seen[0][0], bound or 0.0), (seen[-1][0], bound or 0.0)]
                yield f"Mean {text} (ms) and target", {"observed": seen, "target": goal}, None

    def _gpus(self, report: TickReport) -> float:
        figures = report.decision.figures
        return sum(
            figures.get(f"{pool.role.value}_position_replicas", 0.0) * pool.gpus_per_replica
            for pool in self._config.pools
        )


@contextmanager
def served(config: PlannerConfig, title: str, host: str, port: int) -> Iterator[Dashboard | None]:
    """A dashboard whose page is served from a thread of its own while the block is active.

    Args:
        config: of the planner.
        title: what it scales.
        host: address to listen at.
        port: 0 serves nothing and gives ``None``.

    Raises:
        PermanentError: the port is taken.
    """
    if port == 0:
        yield None
        return
    dashboard = Dashboard(config, title)
    with listening(dashboard, host, port):
        yield dashboard


@contextmanager
def listening(dashboard: Dashboard, host: str, port: int) -> Iterator[int]:
    """Serve the page while the block is active; gives the port, which is chosen for 0.

    Raises:
        PermanentError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.split("?")[0] == "/"
            body = (dashboard.page() if found else "not found").encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests for the page are not worth a line."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise PermanentError(f"the live page cannot be served at {host}:{port}: {error}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


def _chart(title: str, lines: dict[str, Series], band: tuple[Series, Series] | None) -> str:
    points = [point for line in (*lines.values(), *(band or ())) for point in line]
    if not points:
        return ""
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    top = max(max(value for _, value in points), 1e-9)

    def place(line: Series) -> str:
        wide, high = (_WIDTH - _LEFT) / max(last - first, 1e-9), _HEIGHT / top
        return " ".join(
            f"{_LEFT + (at - first) * wide:.1f},{_HEIGHT - value * high:.1f}" for at, value in line
        )

    parts = [f"<b>{escape(title)}</b><svg viewBox='0 -8 {_WIDTH:g} {_HEIGHT + 26:g}' width='100%'>"]
    if band is not None:
        corners = place([*band[0], *reversed(band[1])])
        parts.append(f"<polygon points='{corners}' fill='#d62728' opacity='.15'/>")
    for colour, (name, line) in zip(_COLOURS, lines.items(), strict=False):
        parts.append(f"<polyline points='{place(line)}' fill='none' stroke='{colour}'>")
        parts.append(f"<title>{escape(name)}</title></polyline>")
    for index, (colour, name) in enumerate(zip(_COLOURS, lines, strict=False)):
        at = _LEFT + 120 * index
        parts.append(f"<text x='{at:g}' y='{_HEIGHT + 15:g}' fill='{colour}'>{escape(name)}</text>")
    parts.append(f"<text x='0' y='8'>{top:.3g}</text><text x='0' y='{_HEIGHT:g}'>0</text></svg>")
    return "".join(parts)


def _table(reports: Sequence[TickReport]) -> str:
    rows = [
        f"<tr><td>{report.decision.now_s:.0f}</td><td>{escape(report.applied.value)}</td>"
        f"<td>{escape(report.decision.reason)} {escape(report.problem or '')}</td></tr>"
        for report in reversed(reports)
    ]
    return f"<table><tr><th>s</th><th>applied</th><th>why</th></tr>{''.join(rows)}</table>"
