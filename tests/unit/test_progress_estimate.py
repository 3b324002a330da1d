"""Rate and time left: exact at a steady rate, a range at an unsteady one, and missing if unknown."""

from __future__ import annotations

import random

import pytest
from ansible.module_utils.runbook.progress.estimate import Estimate


def walk(rates: list[float], *, every_seconds: float = 0.5) -> Estimate:
    """An estimate that saw each rate for that long, one after the other."""
    estimate, rows = Estimate(), 0.0
    estimate.add(0.0, 0)
    for number, rate in enumerate(rates, 1):
        rows += rate * every_seconds
        estimate.add(number * every_seconds, round(rows))
    return estimate


def test_nothing_is_known_before_the_first_window() -> None:
    estimate = walk([100])
    assert estimate.rate is None
    assert estimate.eta(100) is None


def test_a_rate_is_known_before_an_estimate_is() -> None:
    estimate = walk([100] * 4)
    assert estimate.rate == 100
    assert estimate.eta(100) is None, "two windows say nothing about the error"


def test_a_steady_walk_has_no_error() -> None:
    assert walk([100] * 20).eta(1000) == pytest.approx((10, 10, 10))


def test_nothing_left_takes_no_time() -> None:
    assert Estimate().eta(0) == (0, 0, 0)


def test_a_walk_that_stands_still_has_no_end() -> None:
    estimate = walk([0] * 20)
    assert estimate.rate == 0
    assert estimate.eta(10) is None


def test_a_pause_does_not_slow_the_rate() -> None:
    estimate = Estimate()
    for second in range(11):
        estimate.add(second, second * 100)
    for second in range(11, 61):
        estimate.add(second, 1000, paused=True)
    for second in range(61, 66):
        estimate.add(second, 1000 + (second - 60) * 100)
    assert estimate.rate == pytest.approx(100)
    assert estimate.eta(500) == pytest.approx((5, 5, 5))


def test_what_is_long_ago_is_forgotten() -> None:
    assert walk([10] * 100 + [1000] * 62).rate == pytest.approx(1000)


def test_another_step_begins_anew() -> None:
    estimate = walk([100] * 20)
    estimate.add(100.0, 0)
    assert estimate.rate is None
    estimate.add(101.0, 50)
    assert estimate.rate == 50


def test_samples_that_come_seldom_are_windows_of_their_own() -> None:
    assert walk([100, 300, 100, 300, 100, 300], every_seconds=5).rate == pytest.approx(200)


def test_the_band_holds_the_truth_about_as_often_as_it_says() -> None:
    """Noise that lasts for several windows, as checkpoints do: 95 in 100 are promised, 85 are demanded."""
    chance, held, tries = random.Random(7), 0, 200
    for _ in range(tries):
        level, rates = 0.0, []
        for _ in range(160):
            level = 0.6 * level + chance.gauss(0, 150)
            rates.append(max(0.0, 1000 + level))
        eta = walk(rates[:60]).eta(round(sum(rates[60:]) * 0.5))
        assert eta is not None
        held += eta[1] <= 50 <= eta[2]
    assert held >= 0.85 * tries, f"{held} of {tries}"


def test_an_unsteady_walk_has_a_wider_band() -> None:
    chance = random.Random(3)
    steady = walk([chance.gauss(1000, 20) for _ in range(60)]).eta(10000)
    unsteady = walk([chance.gauss(1000, 300) for _ in range(60)]).eta(10000)
    assert steady is not None
    assert unsteady is not None
    assert unsteady[2] - unsteady[1] > 3 * (steady[2] - steady[1])
    for expected, least, most in (steady, unsteady):
        assert least < expected < most


def test_the_band_ends_even_when_the_rate_jumps_wildly() -> None:
    eta = walk([0, 0, 0, 0, 0, 0, 1000, 1000, 0, 0]).eta(1000)
    assert eta is not None
    assert eta[2] <= 10 * eta[0]
