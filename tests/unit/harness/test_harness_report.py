import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from harness_synthetic_run import (
    PARETO,
    manifest,
    plan,
    requests,
    rung_run,
    setup,
    verdict,
)

from contracts.plan import Role
from contracts.records import FaultRecord
from contracts.sla import SlaTarget
from harness.report import render_report, write_report
from harness.store import LoadCheck, Outcome, RunFolder, load_run, merge_tables

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects texts, ids and addresses."""

    def __init__(self, html):
        super().__init__()
        self.stack, self.texts, self.ids, self.addresses = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.addresses.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def render(tmp_path, *, runs=(), with_setup=None, with_verdict=None, pareto=None, **changes):
    with RunFolder.create(tmp_path, manifest(**changes)) as folder:
        if with_setup:
            folder.write_setup(with_setup)
        for run in runs:
            folder.add_run(run)
        if pareto:
            folder.write_text("profile/pareto.json", pareto)
        if with_verdict:
            folder.finish(with_verdict)
    html = render_report(load_run(folder.path))
    page = Page(html)
    assert page.stack == []
    return html, page


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return render(
        tmp_path_factory.mktemp("runs"),
        runs=(rung_run("sim"), rung_run("mock")),
        with_setup=setup(),
        with_verdict=verdict(),
        pareto=PARETO,
    )


def test_the_page_needs_nothing_else(full):
    html, page = full
    assert len(html) < 1_500_000
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert "@import" not in html
    assert all(address == "data:," or address.startswith("#") for address in page.addresses)


@pytest.mark.slow
def test_a_hundred_thousand_requests_make_no_larger_page(full, tmp_path):
    run = rung_run("sim", table=requests(count=100_000))
    html, _ = render(tmp_path, runs=(run,), with_setup=setup(), with_verdict=verdict())
    assert len(html) < len(full[0]) < 1_500_000


def test_links_lead_somewhere_and_ids_are_unique(full):
    html, page = full
    assert len(page.ids) == len(set(page.ids))
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    targets |= set(re.findall(r"url\(#([\w-]+)\)", html))
    assert targets - set(page.ids) == set()


def test_the_verdict_comes_first_with_every_expectation(full):
    _, page = full
    text = page.text
    assert text.index("Fail: an expectation was missed") < text.index("DGDR dgdr")
    assert (
        "requests within the SLA, of all offered attainment_min sim at least 95 % 97.33 %" in text
    )
    assert "at most 900 ms 1,012 ms" in text
    assert "at most 30 s no data inconclusive the pool never recovered" in text
    assert "harness run scenarios/quickstart.yaml --seed 1" in text


def test_what_ran_is_in_one_table(full):
    text = full[1].text
    assert "DGDR dgdr/example.yaml" in text
    assert "Picked disagg tp2 + tp2" in text
    assert "SLA TTFT 900 ms, ITL 30 ms" in text
    assert "Pool prefill 1 replica x 2 h200_sxm (TP 2), weights fp8, KV fp8" in text
    assert "GPUs 4 at the start, 8 at most" in text


def test_figures_of_both_rungs(full):
    text = full[1].text
    assert "Requests offered 600 600" in text
    assert "completed 598 598" in text
    assert "GPU time 0.184 GPU-hours" in text
    assert "not used 1.40 ms late at p99 (limit 22.0 ms); timeout: 1" in text


def test_charts(full):
    html, page = full
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', html)
    assert labels == [
        "Load, replicas, TTFT and ITL over time on rung sim",
        "Load, replicas, TTFT and ITL over time on rung mock",
        "Cumulative distribution of TTFT on sim, mock",
        "Cumulative distribution of ITL on sim, mock",
        "Slowest requests on rung sim: waiting and prefill, then decode",
        "Slowest requests on rung mock: waiting and prefill, then decode",
        "Candidates of the profiler, picked: disagg tp2+tp2",
    ]
    text = page.text
    assert text.count("F1 worker crash: decode-0, over after 10.0 s") == 2
    assert text.count("SLO 900 ms") == 3
    assert text.count("Replicas, decode") == 2
    assert "picked: disagg tp2+tp2" in text


def test_rungs_are_compared(full):
    text = full[1].text
    assert re.search(r"TTFT median sim -> mock \d+ ms \d+ ms \+3\.0 % ± 5 % pass", text)
    assert re.search(r"E2E p95 sim -> mock [\d,]+ ms [\d,]+ ms \+3\.0 % not judged", text)


def test_faults_and_decisions(full):
    html, page = full
    assert "F1 sim worker crash decode-0 70.0 s 9 8 1 10.0 s" in page.text
    assert "2 of 24 ticks changed the number of workers." in page.text
    assert "30.0 s prefill 1, decode 1 -> 2 decode needs 2 for 5.6 requests/s" in page.text
    assert "<details>\n<summary>All 24 ticks</summary>" in html


def test_candidates_name_the_reason(full):
    text = full[1].text
    assert "agg tp1 agg 1 1 no data no data no data no weights need 12.3 GiB more" in text


def test_the_manifest_closes_the_page(full):
    text = full[1].text
    assert "Status complete" in text
    assert "Digest sim/1 abc123" in text
    assert text.rstrip().endswith("version: 1 name: quickstart")


def test_the_report_is_written_into_the_folder(tmp_path):
    with RunFolder.create(tmp_path, manifest()) as folder:
        folder.finish(verdict(Outcome.PASS))
    path = write_report(folder.path)
    assert path == folder.path / "report.html"
    assert path.read_text() == render_report(load_run(folder.path))


@pytest.mark.slow
def test_the_same_run_gives_the_same_page(tmp_path, full):
    again, _ = render(
        tmp_path,
        runs=(rung_run("sim"), rung_run("mock")),
        with_setup=setup(),
        with_verdict=verdict(),
        pareto=PARETO,
    )
    assert again == full[0]


@pytest.mark.parametrize(
    ("outcome", "headline"),
    [
        (Outcome.PASS, "Pass: every expectation held"),
        (Outcome.INCONCLUSIVE, "Inconclusive: the data does not allow a verdict"),
    ],
)
def test_other_headlines(tmp_path, outcome, headline):
    html, page = render(tmp_path, with_verdict=verdict(outcome))
    assert headline in page.text
    assert f'class="banner {outcome.value}"' in html


def test_a_run_that_got_nowhere_says_no_data_everywhere(tmp_path):
    html, page = render(tmp_path)
    assert "No verdict: the run is incomplete" in page.text
    assert "the run ended before its verdict" in page.text
    for hint in (
        "no expectation was judged",
        "the run ended before a plan was made",
        "no rung has results",
        "fewer than two rungs have results",
        "no fault was injected",
        "the run folder has no profile/pareto.json",
    ):
        assert f"no data: {hint}" in page.text
    assert "<svg" not in html


def test_a_rung_without_requests_has_no_fake_zeros(tmp_path):
    run = rung_run(table=merge_tables([]), worker_events=(), faults=(), decisions=(), load=None)
    html, page = render(tmp_path, runs=(run,), with_setup=setup())
    assert "no data: no requests" in page.text
    assert "Within the SLA, of all offered no data" in page.text
    assert "TTFT p50 / p95 / p99 no data" in page.text
    assert "Output no data" in page.text
    assert "GPU time no data" in page.text
    assert "<svg" not in html


def test_nothing_completed(tmp_path):
    table = requests(count=50)
    table.status[:] = "failed"
    table.first_token_ns[:] = -1
    table.finish_ns[:] = -1
    html, page = render(tmp_path, runs=(rung_run(table=table),), with_setup=setup())
    assert "Within the SLA, of all offered 0 %" in page.text
    assert "ITL p50 / p95 / p99 no data" in page.text
    assert html.count("<svg") == 2
    assert page.text.count("no data") >= 4


def test_texts_of_the_run_cannot_break_the_page(tmp_path):
    html, page = render(tmp_path, rerun_line="harness <script>alert(1)</script> & 'x'")
    assert "<script>" not in html
    assert "harness <script>alert(1)</script> & 'x'" in page.text


def test_a_fault_without_recovery_and_a_saturated_client(tmp_path):
    fault = FaultRecord(
        kind="worker_crash",
        target="decode-0",
        at_s=70.0,
        requests_hit=0,
        requests_retried=0,
        requests_failed=0,
        recovered_at_s=None,
    )
    load = LoadCheck(dispatch_delay_ms_p99=85.0, limit_ms=20.0, saturated=True)
    _, page = render(tmp_path, runs=(rung_run(faults=(fault,), load=load),), with_setup=setup())
    assert "F1 worker crash: decode-0, not recovered" in page.text
    assert "0 0 0 not recovered" in page.text
    assert "saturated, 85.0 ms late at p99 (limit 20.0 ms)" in page.text


def test_an_e2e_target_has_its_own_chart(tmp_path):
    sla = SlaTarget(ttft_ms=1.0, itl_ms=1.0, e2e_ms=4000.0)
    changed = setup(plan=replace(plan(), sla=sla))
    html, page = render(tmp_path, runs=(rung_run(),), with_setup=changed)
    assert "Cumulative distribution of E2E on sim" in html
    assert "SLA E2E 4,000 ms" in page.text
    assert page.text.count("SLO 4,000 ms") == 1
    assert "SLO 1 ms" not in page.text


def test_overload_switches_to_a_logarithmic_axis(tmp_path):
    table = requests()
    table.first_token_ns[-30:] += 3_000_000_000_000
    table.finish_ns[-30:] += 3_000_000_000_000
    _, page = render(tmp_path, runs=(rung_run(table=table),), with_setup=setup())
    assert page.text.count(", logarithmic") == 1


def test_several_seeds(tmp_path):
    runs = (rung_run(seed=1), rung_run(seed=2))
    _, page = render(tmp_path, runs=runs, with_setup=setup(), seeds=(1, 2))
    assert "All seeds of a rung taken together." in page.text
    assert "Requests offered 1,200" in page.text
    assert "Rung sim, seed 1" in page.text
    assert "F1 sim, seed 2" in page.text


@pytest.mark.slow
def test_a_large_run_stays_small(tmp_path):
    rows = requests(count=30_000)
    assert Role.DECODE in {event.role for event in rung_run().record.worker_events}
    many = rung_run().decisions * 100
    html, page = render(tmp_path, runs=(rung_run(table=rows, decisions=many),), with_setup=setup())
    assert len(html) < 600_000
    assert "The first 300; ticks.parquet holds all of them." in page.text
    assert np.count_nonzero(rows.completed) == 29_998
