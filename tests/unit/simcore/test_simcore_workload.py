import numpy as np
import pytest

from contracts.errors import InputError
from contracts.streams import RandomStreams
from contracts.workload import Workload
from simcore.workload import (
    BurstArrivals,
    ConstantArrivals,
    GammaArrivals,
    Lengths,
    PoissonArrivals,
    synthesize,
)

STREAMS = RandomStreams(5)


ISL, OSL = Lengths(mean=1000), Lengths(mean=100)


def draw(arrivals, duration_s=2000.0, isl=ISL, osl=OSL):
    return synthesize(arrivals, duration_s=duration_s, isl=isl, osl=osl, streams=STREAMS)


def gap_cv(workload) -> float:
    gaps = np.diff(workload.arrival_ns)
    return float(gaps.std() / gaps.mean())


def test_rates_and_variability() -> None:
    for arrivals, cv in (
        (PoissonArrivals(rate_per_s=5), 1.0),
        (GammaArrivals(rate_per_s=5, gap_cv=2), 2.0),
        (GammaArrivals(rate_per_s=5, gap_cv=0.5), 0.5),
        (ConstantArrivals(rate_per_s=5), 0.0),
    ):
        workload = draw(arrivals)
        assert workload.rate_per_s == pytest.approx(5, rel=0.05)
        assert gap_cv(workload) == pytest.approx(cv, abs=0.1)
        assert workload.duration_ns <= 2000 * 10**9


def test_burst_has_its_peak_in_its_window() -> None:
    arrivals = BurstArrivals(base_rate_per_s=2, peak_rate_per_s=20, start_s=500, length_s=250)
    seconds = draw(arrivals).arrival_ns / 1e9
    inside = (seconds >= 500) & (seconds < 750)
    assert inside.sum() / 250 == pytest.approx(20, rel=0.1)
    assert (~inside).sum() / 1750 == pytest.approx(2, rel=0.1)


def test_lognormal_lengths_have_the_asked_mean_and_cv_and_clip() -> None:
    workload = draw(
        PoissonArrivals(rate_per_s=10),
        isl=Lengths(mean=4000, cv=0.5),
        osl=Lengths(mean=200, cv=1.0, min_tokens=20, max_tokens=400),
    )
    assert workload.isl.mean() == pytest.approx(4000, rel=0.03)
    assert workload.isl.std() / workload.isl.mean() == pytest.approx(0.5, rel=0.06)
    assert (workload.osl.min(), workload.osl.max()) == (20, 400)


def test_streams_do_not_disturb_each_other() -> None:
    one = draw(PoissonArrivals(rate_per_s=5), isl=Lengths(mean=1000, cv=0.3))
    two = draw(
        PoissonArrivals(rate_per_s=5), isl=Lengths(mean=1000, cv=0.3), osl=Lengths(mean=9, cv=1)
    )
    assert (one.arrival_ns == two.arrival_ns).all()
    assert (one.isl == two.isl).all()


@pytest.mark.parametrize(
    ("arrivals", "path"),
    [
        (PoissonArrivals(rate_per_s=0), "rate_per_s"),
        (GammaArrivals(rate_per_s=1, gap_cv=-1), "gap_cv"),
        (ConstantArrivals(rate_per_s=float("nan")), "rate_per_s"),
        (BurstArrivals(base_rate_per_s=1, peak_rate_per_s=2, start_s=9000, length_s=1), "start_s"),
    ],
)
def test_bad_arrivals_name_the_field(arrivals, path) -> None:
    with pytest.raises(InputError, match=path):
        draw(arrivals)


def test_bad_lengths_and_empty_workloads() -> None:
    with pytest.raises(InputError, match=r"isl\.mean"):
        draw(PoissonArrivals(rate_per_s=1), isl=Lengths(mean=0))
    with pytest.raises(InputError, match=r"osl\.cv"):
        draw(PoissonArrivals(rate_per_s=1), osl=Lengths(mean=1, cv=-1))
    with pytest.raises(InputError, match="no request arrives"):
        draw(ConstantArrivals(rate_per_s=0.5), duration_s=1.0)
    with pytest.raises(InputError, match="request 1 osl"):
        Workload(
            arrival_ns=np.array([0, 1]), isl=np.array([1, 1]), osl=np.array([1, 0]), source="w"
        )
