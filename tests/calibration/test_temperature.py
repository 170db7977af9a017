from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.calibration.temperature import Temperature, _zero_of_increasing
from c2i_fast.errors import InputError, NotFittedError

quick = settings(deadline=None, max_examples=60)


def slow_nll(logits, labels, temperature):
    """The mean negative log-likelihood by its definition, one sample and one class at a time."""
    losses = []
    for row, label in zip(np.asarray(logits, np.float64).tolist(), labels, strict=True):
        scaled = [value / temperature for value in row]
        largest = max(scaled)
        losses.append(largest + math.log(math.fsum(math.exp(v - largest) for v in scaled)) - scaled[label])
    return math.fsum(losses) / len(losses)


def slow_gradient(logits, labels, temperature):
    """Its derivative in 1/T: the mean of Σ p_k z_k − z_y."""
    terms = []
    for row, label in zip(np.asarray(logits, np.float64).tolist(), labels, strict=True):
        largest = max(row)
        weights = [math.exp((value - largest) / temperature) for value in row]
        expected = math.fsum(w * v for w, v in zip(weights, row, strict=True)) / math.fsum(weights)
        terms.append(expected - row[label])
    return math.fsum(terms) / len(terms)


def golden_section(function, low, high, steps=80):
    """The minimum of a unimodal function, from its values alone."""
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(steps):
        inner, outer = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, outer) if function(inner) < function(outer) else (inner, high)
    return (low + high) / 2


@st.composite
def problems(draw, scale=8.0):
    """Logits (N, K) float32 of moderate size with arbitrary labels."""
    samples, classes = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    numbers = st.floats(-scale, scale, width=32).map(lambda value: round(value, 3))
    logits = draw(arrays(np.float32, (samples, classes), elements=st.one_of(st.just(0.0), numbers).map(np.float32)))
    labels = draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return logits, labels


@pytest.mark.parametrize("name", ["cifar", "imagenet"])
def test_it_is_the_optimum_found_by_others(oracles, name):
    arrays_ = np.load(oracles / f"calibration_{name}.npz")
    logits, labels = arrays_["logits_fit"], arrays_["labels_fit"]
    expected = json.loads((oracles / f"calibration_{name}.json").read_text())["parameters"]["temperature_exact"]
    calibrator = Temperature().fit(logits, labels)
    assert calibrator.temperature_ == pytest.approx(expected["T"], abs=1e-9)
    assert calibrator.at_bound_ is None
    assert slow_nll(logits, labels, calibrator.temperature_) == pytest.approx(expected["fit_nll"], abs=1e-12)
    assert abs(slow_gradient(logits, labels, calibrator.temperature_)) < 1e-12


def test_calibrated_probabilities_are_those_of_others(oracles):
    arrays_ = np.load(oracles / "calibration_cifar.npz")
    calibrator = Temperature().fit(arrays_["logits_fit"], arrays_["labels_fit"])
    calibrated = calibrator.transform(arrays_["logits_test"])
    p = np.exp(calibrated - calibrated.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, arrays_["prob_temperature_exact"], atol=1e-12)


def test_one_well_known_fit_stops_short_of_this_optimum(oracles):
    arrays_ = np.load(oracles / "calibration_cifar.npz")
    logits, labels = arrays_["logits_fit"], arrays_["labels_fit"]
    released = json.loads((oracles / "calibration_cifar.json").read_text())["parameters"]["temperature_gpleiss"]["T"]
    ours = Temperature().fit(logits, labels).temperature_
    assert slow_nll(logits, labels, ours) < slow_nll(logits, labels, released) - 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_a_golden_section_search_ends_at_the_same_temperature(overconfident, seed):
    logits, labels = overconfident(samples=60, classes=3, seed=seed)
    found = math.exp(golden_section(lambda u: slow_nll(logits, labels, math.exp(u)), math.log(0.05), math.log(20)))
    assert Temperature().fit(logits, labels).temperature_ == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(("gap", "right", "total"), [(2.0, 3, 4), (0.5, 9, 16), (30.0, 7, 8), (1.0, 2, 3)])
def test_the_closed_form_of_two_classes(gap, right, total):
    # All logits (gap, 0): the optimum predicts the accuracy, σ(gap/T) = right/total.
    logits = np.tile([gap, 0.0], (total, 1))
    labels = np.array([0] * right + [1] * (total - right))
    expected = gap / math.log(right / (total - right))
    assert Temperature().fit(logits, labels).temperature_ == pytest.approx(expected, rel=1e-12)


def test_many_samples_recover_the_temperature_they_were_drawn_with(overconfident):
    assert Temperature().fit(*overconfident(samples=40_000)).temperature_ == pytest.approx(2.5, rel=0.02)


@quick
@given(problems())
def test_the_gradient_is_zero_or_points_out_of_the_bounds(problem):
    logits, labels = problem
    calibrator = Temperature().fit(logits, labels)
    gradient = slow_gradient(logits, labels, calibrator.temperature_)
    if calibrator.at_bound_ == "lower":
        assert calibrator.temperature_ == 0.05
        assert gradient <= 1e-12
    elif calibrator.at_bound_ == "upper":
        assert calibrator.temperature_ == 20.0
        assert gradient >= -1e-12
    else:
        assert abs(gradient) <= 1e-12


@quick
@given(problems())
def test_no_temperature_on_a_grid_is_better(problem):
    logits, labels = problem
    best = slow_nll(logits, labels, Temperature().fit(logits, labels).temperature_)
    assert all(best <= slow_nll(logits, labels, other) + 1e-12 for other in [*np.geomspace(0.05, 20, 25), 1.0])


@quick
@given(problems(), st.sampled_from([0.25, 0.5, 2.0, 4.0]))
def test_scaling_the_logits_scales_the_temperature(problem, factor):
    logits, labels = problem
    plain, scaled = Temperature().fit(logits, labels), Temperature().fit(factor * logits, labels)
    if plain.at_bound_ is None and scaled.at_bound_ is None and (logits.min(axis=1) != logits.max(axis=1)).any():
        assert scaled.temperature_ == pytest.approx(factor * plain.temperature_, rel=1e-6)


@quick
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_samples_and_of_classes_does_not_matter(problem, random):
    logits, labels = problem
    samples, classes = list(range(len(logits))), list(range(logits.shape[1]))
    random.shuffle(samples)
    random.shuffle(classes)
    shuffled = logits[samples][:, classes]
    renamed = np.argsort(classes)[labels[samples]]
    first, second = Temperature().fit(logits, labels), Temperature().fit(shuffled, renamed)
    assert second.at_bound_ == first.at_bound_
    assert second.temperature_ == pytest.approx(first.temperature_, rel=1e-6)


@quick
@given(problems(), st.integers(-64, 64))
def test_a_constant_added_to_each_row_does_not_matter(problem, constant):
    logits, labels = problem
    moved = logits.astype(np.float64) + constant * (1 + np.arange(len(logits))[:, None])
    first, second = Temperature().fit(logits, labels), Temperature().fit(moved, labels)
    assert second.temperature_ == pytest.approx(first.temperature_, rel=1e-6)


@quick
@given(
    arrays(np.float32, (6, 5), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(0.05, 20.0),
)
def test_no_ranking_ever_changes(logits, temperature):
    calibrated = Temperature.from_parameters({"temperature": temperature}).transform(logits)
    assert calibrated.dtype == np.float64
    np.testing.assert_array_equal(
        np.argsort(calibrated, axis=1, kind="stable"), np.argsort(logits, axis=1, kind="stable")
    )
    np.testing.assert_array_equal(calibrated.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e4, 1e30])
def test_separable_data_stop_at_the_lower_bound(scale):
    logits = scale * np.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    calibrator = Temperature().fit(logits, [0, 1])
    assert (calibrator.temperature_, calibrator.at_bound_) == (0.05, "lower")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_labels_that_contradict_the_logits_stop_at_the_upper_bound(scale):
    logits = scale * np.array([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    calibrator = Temperature().fit(logits, [1, 0])
    assert (calibrator.temperature_, calibrator.at_bound_) == (20.0, "upper")


def test_nearly_separable_data_stop_at_the_lower_bound_too():
    logits = np.tile([0.01, 0.0], (1000, 1))  # closed form: 0.01 / log 999 = 0.0014
    labels = np.array([1] + [0] * 999)
    assert Temperature().fit(logits, labels).at_bound_ == "lower"


@pytest.mark.parametrize(("label", "bound"), [(0, "lower"), (1, "upper")])
def test_one_sample_goes_to_a_bound(label, bound):
    assert Temperature().fit([[1.0, 0.0]], [label]).at_bound_ == bound


def test_random_labels_go_high():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2000, 10)), rng.integers(0, 10, 2000)
    assert Temperature().fit(logits, labels).temperature_ > 8
    assert Temperature(bounds=(0.05, 2.0)).fit(logits, labels).parameters() == {"temperature": 2.0, "at_bound": "upper"}


@pytest.mark.parametrize(("bounds", "expected"), [((0.05, 20.0), 1.0), ((2.0, 3.0), 2.0), ((0.1, 0.5), 0.5)])
def test_where_no_temperature_is_better_it_is_the_one_nearest_to_one(bounds, expected):
    calibrator = Temperature(bounds=bounds).fit([[7.0, 7.0, 7.0], [0.0, 0.0, 0.0]], [0, 2])
    assert (calibrator.temperature_, calibrator.at_bound_) == (expected, None)


def test_the_bounds_can_be_set_and_are_kept_to(overconfident):
    logits, labels = overconfident()
    free = Temperature().fit(logits, labels).temperature_
    assert Temperature(bounds=(free + 1, 9.0)).fit(logits, labels).parameters() == {
        "temperature": free + 1,
        "at_bound": "lower",
    }
    assert Temperature(bounds=(0.1, free - 1)).fit(logits, labels).parameters() == {
        "temperature": free - 1,
        "at_bound": "upper",
    }
    assert Temperature(bounds=(free - 0.5, free + 0.5)).fit(logits, labels).temperature_ == pytest.approx(
        free, abs=1e-12
    )


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.1, math.inf), (math.nan, 1.0)])
def test_impossible_bounds_are_refused_by_fit_and_not_before(bounds):
    calibrator = Temperature(bounds=bounds)
    with pytest.raises(InputError, match="bound"):
        calibrator.fit([[1.0, 0.0]], [0])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_every_number_type_gives_the_same_temperature(dtype):
    logits = np.array([[3, 0, 1], [0, 2, 1], [1, 2, 0], [4, 0, 1]])
    labels = [0, 1, 0, 2]
    expected = Temperature().fit(logits.astype(np.float64), labels).temperature_
    assert Temperature().fit(logits.astype(dtype), labels).temperature_ == expected


def test_lists_do_as_well_as_arrays():
    assert Temperature().fit([[2, 0]] * 4, [0, 0, 0, 1]).transform([[2, 0]]).tolist() == [
        [pytest.approx(math.log(3)), 0]
    ]


def test_fitting_again_forgets_the_first_fit(overconfident):
    calibrator = Temperature().fit([[1.0, 0.0]], [0])
    assert calibrator.at_bound_ == "lower"
    assert calibrator.fit(*overconfident()) is calibrator
    assert calibrator.at_bound_ is None


def test_many_blocks_give_what_one_gives(overconfident, monkeypatch):
    logits, labels = overconfident()
    whole = Temperature().fit(logits, labels).temperature_
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 7 * logits.shape[1])
    assert Temperature().fit(logits, labels).temperature_ == pytest.approx(whole, rel=1e-13)


def test_the_logits_are_not_copied_as_a_whole(overconfident):
    logits, labels = overconfident(samples=40_000, classes=100)
    tracemalloc.start()
    Temperature().fit(logits, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.75 * logits.nbytes  # one float64 copy alone would be 2


def test_the_input_is_left_alone(overconfident):
    logits, labels = overconfident()
    kept = logits.copy()
    logits.flags.writeable = labels.flags.writeable = False
    Temperature().fit(logits, labels).transform(logits)
    np.testing.assert_array_equal(logits, kept)


@pytest.mark.parametrize("use", [lambda c: c.transform([[1.0, 0.0]]), lambda c: c.parameters()])
def test_it_must_be_fitted_first(use):
    with pytest.raises(NotFittedError, match="call fit"):
        use(Temperature())


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 1)), [0, 0, 0], "at least 2 classes"),
        ([[np.nan, 0.0], [1.0, 0.0]], [0, 1], "1 of 2 rows"),
        ([[np.inf, 0.0], [1.0, 0.0]], [0, 1], "1 of 2 rows"),
        ([[1.0, 0.0], [1.0, 0.0]], [0, 2], r"0\.\.1, got 0\.\.2"),
        ([[1.0, 0.0], [1.0, 0.0]], [0], "1 labels and 2 rows"),
        ([[1.0, 0.0], [1.0, 0.0]], [0.0, 1.0], "integers"),
        ([[1.0, 0.0], [1.0, 0.0]], [[1, 0], [0, 1]], "one-hot"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_learnt(logits, labels, message):
    calibrator = Temperature()
    with pytest.raises(InputError, match=message):
        calibrator.fit(logits, labels)
    with pytest.raises(NotFittedError):
        calibrator.parameters()


def test_parameters_rebuild_the_calibrator(overconfident):
    logits, labels = overconfident()
    fitted = Temperature().fit(logits, labels)
    rebuilt = Temperature.from_parameters(json.loads(json.dumps(fitted.parameters())))
    np.testing.assert_array_equal(rebuilt.transform(logits), fitted.transform(logits))
    assert rebuilt.parameters() == fitted.parameters()


@pytest.mark.parametrize(
    "value", [0, 0.0, -1.5, math.nan, math.inf, 1e-50, 1e39, 10**400, True, "2", None, [2.0], {"T": 2}]
)
def test_a_temperature_that_cannot_be_is_refused(value):
    with pytest.raises(InputError, match="expected temperature to be a positive finite number, got"):
        Temperature.from_parameters({"temperature": value})


@pytest.mark.parametrize(
    "parameters", [{}, {"T": 2.0}, {"temperature": 2.0, "beta": 0.5}, {"at_bound": None}, {"temperature": 2.0, 3: 1}]
)
def test_unknown_and_missing_parameters_are_refused(parameters):
    with pytest.raises(InputError, match="expected the parameters temperature and, optionally, at_bound, got"):
        Temperature.from_parameters(parameters)


@pytest.mark.parametrize("value", ["middle", 1, ["lower"], {}])
def test_an_unknown_bound_is_refused(value):
    with pytest.raises(InputError, match="expected at_bound to be lower, upper or null"):
        Temperature.from_parameters({"temperature": 2.0, "at_bound": value})


def count_evaluations(function, low, high):
    calls = []
    result = _zero_of_increasing(lambda x: (calls.append(x), function(x))[1], low, high)
    assert all(low <= call <= high for call in calls)
    return result, len(calls)


@pytest.mark.parametrize("zero", [0.06, 0.3, 1.0, 1.7, 19.0])
@pytest.mark.parametrize("rate", [0.01, 1.0, 30.0, 1000.0])
def test_an_exponential_tail_does_not_take_forever(zero, rate):
    # Newton alone walks such a tail in steps of 1/rate from the left: 18 000 of them at worst.
    def function(x):
        tail = math.exp(min(-rate * (x - zero), 600))
        return 1 - tail, rate * tail

    result, evaluations = count_evaluations(function, 0.05, 20.0)
    assert result == pytest.approx(zero, rel=1e-9)
    assert evaluations < 40


@pytest.mark.parametrize(("zero", "expected"), [(0.01, 0.05), (25.0, 20.0), (0.05, 0.05), (20.0, 20.0)])
def test_a_zero_outside_is_answered_with_the_bound(zero, expected):
    result, evaluations = count_evaluations(lambda x: (x - zero, 1.0), 0.05, 20.0)
    assert result == expected
    assert evaluations <= 3


def test_a_jump_with_no_slope_is_found_by_halving():
    result, evaluations = count_evaluations(lambda x: (math.copysign(1.0, x - 3.21), 0.0), 0.05, 20.0)
    assert result == pytest.approx(3.21, rel=1e-9)
    assert evaluations < 200
