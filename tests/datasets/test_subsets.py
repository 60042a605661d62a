"""Subsets: sizes, nesting, validation shares, and independence of everything but the generator."""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.base import DataError
from datasets.subsets import carve, limit, subset, subset_hash, subset_listed, subset_smile

quick = settings(max_examples=50, deadline=None)
labels_of = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(lambda values: np.array(values, np.int64))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@quick
@given(labels_of, st.sampled_from([0.01, 0.07, 0.15, 0.3, 0.5, 0.7, 1.0]))
def test_every_class_gives_the_ceiling_of_its_share(labels: np.ndarray, fraction: float) -> None:
    chosen = subset(labels, fraction, rng())
    assert len(set(chosen)) == len(chosen)
    for label in np.unique(labels):
        n = int((labels == label).sum())
        assert (labels[chosen] == label).sum() == math.ceil(Fraction(str(fraction)) * n)


def test_fractions_are_decimals() -> None:
    assert 0.07 * 100 > 7
    assert len(subset(np.zeros(100, np.int64), 0.07, rng())) == 7
    assert len(subset(np.zeros(100, np.int64), np.float64(0.07), rng())) == 7


@quick
@given(labels_of, st.integers(0, 5))
def test_fractions_are_nested(labels: np.ndarray, seed: int) -> None:
    sets = [set(subset(labels, fraction, rng(seed))) for fraction in (0.15, 0.3, 0.5, 1.0)]
    assert all(small <= large for small, large in itertools.pairwise(sets))
    assert sets[-1] == set(range(len(labels)))


def test_seeds_differ() -> None:
    labels = np.repeat(np.arange(5), 40)
    assert set(subset(labels, 0.3, rng(0))) != set(subset(labels, 0.3, rng(1)))


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(5994, (900, 1799, 2998, 5994)), (8144, (1222, 2444, 4073, 8144)), (6667, (1001, 2001, 3334, 6667))],
)
def test_smile_sampling_has_the_sizes_of_the_authors_code(n: int, sizes: tuple[int, ...]) -> None:
    chosen = [subset_smile(np.zeros(n, np.int64), fraction, rng()) for fraction in (0.15, 0.3, 0.5, 1.0)]
    assert tuple(map(len, chosen)) == sizes
    assert all(set(small) <= set(large) for small, large in itertools.pairwise(chosen))


@quick
@given(labels_of, st.sampled_from([0.15, 0.5, 1.0]), st.sampled_from([0.05, 0.1, 0.5, 0.9]))
def test_carve_takes_from_the_subset_alone(labels: np.ndarray, fraction: float, val_fraction: float) -> None:
    chosen = subset(labels, fraction, rng())
    train, val = carve(labels, chosen, val_fraction)
    assert sorted([*train, *val]) == sorted(chosen)
    assert list(train) == sorted(train)
    assert list(val) == sorted(val)
    for label in np.unique(labels):
        n = int((labels[chosen] == label).sum())
        wanted = max(round(Fraction(str(val_fraction)) * n), 1) if n >= 2 else 0
        assert (labels[val] == label).sum() == min(wanted, n - 1)


def test_carve_takes_the_last_of_each_class_in_drawing_order() -> None:
    labels = np.array([0, 1] * 10)
    chosen = subset(labels, 0.5, rng(3))
    _, val = carve(labels, chosen, 0.4)
    assert set(val) == set(chosen[3:5]) | set(chosen[8:10])


def test_carve_of_nothing_keeps_all_sorted() -> None:
    train, val = carve(np.array([1, 0, 1]), np.array([2, 0, 1]), 0.0)
    assert list(train) == [0, 1, 2]
    assert len(val) == 0


def test_limit_is_fixed_stratified_and_nested() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    keys = [f"class{label}/{i}" for i, label in enumerate(labels)]
    assert np.bincount(labels[limit(labels, keys, 12)]).tolist() == [2, 4, 6]
    assert set(limit(labels, keys, 12)) < set(limit(labels, keys, 30))
    assert list(limit(labels, keys, 1000)) == list(range(60))
    shuffled = rng().permutation(60)
    again = limit(labels[shuffled], [keys[i] for i in shuffled], 12)
    assert {keys[shuffled[i]] for i in again} == {keys[i] for i in limit(labels, keys, 12)}


def test_subset_hash_is_of_the_set() -> None:
    assert subset_hash(["a", "b"]) == subset_hash(["b", "a"])
    assert subset_hash(["a", "b"]) != subset_hash(["ab"])
    assert subset_hash(["a\nb"]) != subset_hash(["a", "b"])


def test_a_published_list_is_followed(tmp_path: Path) -> None:
    keys = ["001.a b/x.jpg", "001.a b/y.jpg", "002.c/x.jpg"]
    file = tmp_path / "train_15.txt"
    for lines in (
        "train/002.c/x.jpg 1\ntrain/001.a b/y.jpg 0\n\n",
        "train/002.c/x.jpg\t1\r\ntrain/001.a b/y.jpg \t 0",
        "\ufefftrain/002.c/x.jpg   2\ntrain/001.a b/y.jpg 1\n",
        "002.c/x.jpg\t002.c\n001.a b/y.jpg\t001.a b\n",
    ):
        file.write_text(lines)
        assert subset_listed(keys, [0, 0, 1], ["001.a b", "002.c"], file).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train/002.c/z.jpg 1", r"no training image is named .*\(line 2\)"),
        ("002.c/x.jpg 1", r"listed twice \(lines 1 and 2\)"),
        ("train/001.a/x.jpg", r"expected 'path label', .*\(line 2\)"),
        ("train/001.a/x.jpg 1", r"label '1' \(line 2\), but .* is of class 0, '001\.a'"),
        ("train/001.a/x.jpg\t002.c", r"label '002\.c' \(line 2\)"),
        ("train/001.a/x.jpg \u00b2", r"\(line 2\)"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "list.txt").write_text(f"train/002.c/x.jpg 1\n{line}\n")
    with pytest.raises(DataError, match=reason):
        subset_listed(["001.a/x.jpg", "002.c/x.jpg"], [0, 1], ["001.a", "002.c"], tmp_path / "list.txt")


def test_an_empty_list_and_one_that_is_missing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(DataError, match="lists no image"):
        subset_listed(["a/x.jpg"], [0], ["a"], tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"cannot read .*gone\.txt"):
        subset_listed(["a/x.jpg"], [0], ["a"], tmp_path / "gone.txt")
