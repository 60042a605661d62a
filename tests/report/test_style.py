"""The palette: one look per name, told apart also by colour-blind readers."""

import math
import re
from itertools import combinations

import pytest

from benchmark.report.style import Looks, palette

LOOKS = Looks()

VARIANTS = {
    "fine_tuning": (),
    "linear_probe": ("bn_train",),
    "l2_sp": ("smile",),
    "delta": ("smile", "plain"),
    "rifle": ("cyclic",),
    "mixup": (),
    "cutmix": ("smile",),
    "manifold_mixup": (),
    "smile": ("no_feature", "no_source", "no_target_mix", "fixed_teacher", "sq_mean", "code", "cutmix"),
    "bss": (),
    "co_tuning": ("learned",),
    "stoch_norm": (),
    "lwf": ("tllib",),
    "bi_tuning": (),
    "reg_sl": ("penalty", "self_label"),
}

NAMES = [name for base, variants in VARIANTS.items() for name in (base, *(f"{base}_{variant}" for variant in variants))]

COMPOSED = ("l2_sp+mixup", "delta+mixup", "rifle+mixup", "bss+mixup", "co_tuning+mixup", "smile+rifle", "l2_sp+cutmix")

SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
}
"""Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB."""


def linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def lab(colour: str, sight: str) -> list[float]:
    r, g, b = (min(1, max(0, sum(w * c for w, c in zip(row, linear(colour), strict=True)))) for row in SIGHT[sight])
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in xyz)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def test_every_method_name_has_a_fixed_style() -> None:
    assert set(palette()) == set(NAMES)
    assert all(re.fullmatch(r"#[0-9a-f]{6}", look.colour) for look in map(LOOKS.__getitem__, palette()))


def test_no_two_names_look_the_same() -> None:
    looks = [(look.colour, look.marker) for look in map(LOOKS.__getitem__, palette())]
    assert len(set(looks)) == len(looks)
    composed = [LOOKS[name] for name in (*NAMES, *COMPOSED)]
    assert len({(look.colour, look.marker, str(look.line)) for look in composed}) == len(composed)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(
    "together",
    [
        ("fine_tuning", "linear_probe", "l2_sp", "delta", "rifle", "mixup", "cutmix", "smile"),
        ("fine_tuning", "mixup", "smile", "smile_no_feature", "smile_no_source", "smile_fixed_teacher", "smile_sq_mean"),
    ],
)
def test_colours_shown_together_differ_for_every_eye(sight: str, together: tuple[str, ...]) -> None:
    labs = {name: lab(LOOKS[name].colour, sight) for name in together}
    close = [(a, b) for a, b in combinations(together, 2) if math.dist(labs[a], labs[b]) < 10]
    assert not close


def test_every_colour_stands_out_from_white() -> None:
    for name, (colour, _) in palette().items():
        r, g, b = linear(colour)
        contrast = 1.05 / (0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05)
        assert contrast > 2, name


def test_a_composition_shows_its_parts() -> None:
    look = LOOKS["l2_sp+mixup"]
    assert (look.colour, look.marker) == (LOOKS["l2_sp"].colour, LOOKS["mixup"].marker)
    assert look.line != LOOKS["l2_sp"].line


def test_an_own_name_keeps_its_familys_colour_and_stays_the_same() -> None:
    assert LOOKS["smile_weak"].colour == LOOKS["smile"].colour
    assert LOOKS["smile_weak"] == LOOKS["smile_weak"] != LOOKS["smile"]
    assert LOOKS["package.module:Mine"] == LOOKS["package.module:Mine"]
