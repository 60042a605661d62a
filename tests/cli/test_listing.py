"""``list methods`` and ``describe``: everything a sweep may name, with what is declared of it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

import methods
from benchmark.cli import listing
from benchmark.config.method_options import method_info
from benchmark.errors import UsageError
from tests.contract.entries import ENTRIES


def described(name: str) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    listing.describe(name, console)
    return console.export_text()


@pytest.mark.parametrize("name", ENTRIES)
def test_describe_prints_equation_and_every_option(name: str) -> None:
    text = described(name)
    for part in name.split("+"):
        base, preset = methods.VARIANTS.get(part, (part, {}))
        info = method_info(base)
        assert info.doc.splitlines()[0] in text
        assert all(option in text for option in info.options)
        assert all(str(value) in text for value in preset.values())
        assert all(term in text for term in info.declarations["terms"])
        assert "Deviations from the authors' code" in text


@pytest.mark.parametrize("base", ["smile", "mixup"])
def test_describe_says_of_a_class_what_its_base_declares(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"derived_from_{base}"
    (tmp_path / f"{module}.py").write_text(f'from methods.{base} import {base.title()}\nclass M({base.title()}):\n    """mine"""\n')
    text, original = described(f"{module}:M"), described(base)
    for words in ("loss terms: ", "cost: ", "equals fine-tuning at: ", "version of its results: ", "it is the one mixer of a composition"):
        lines = [[line for line in shown.splitlines() if line.startswith(words)] for shown in (text, original)]
        assert lines[0] == lines[1] != []
    assert all(f"│ {option} " in text for option in method_info(base).options)


def test_describe_says_what_a_component_needs_and_costs() -> None:
    text = described("smile+rifle")
    for words in ("needs the source classifier", "the one mixer", "cost: 1.33", "equals fine-tuning at: n_periods=1", "smile+rifle: "):
        assert words in text
    assert "equals fine-tuning at: never" in described("linear_probe")
    assert "2 views" in described("bi_tuning")


@pytest.mark.parametrize(
    ("name", "words"), [("smiel", "did you mean 'smile'"), ("mixup+cutmix", "at most one mixer"), ("a.b:C", "no module 'a.b'")]
)
def test_describe_refuses_what_a_sweep_would_refuse(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        described(name)


def test_the_list_holds_every_method_and_variant_with_cost_and_terms() -> None:
    console = Console(width=250, record=True, file=io.StringIO())
    listing.methods_table(console)
    rows = {cells[1].strip(): line for line in console.export_text().splitlines() if len(cells := line.split("│")) > 2}
    for name in methods.METHODS:
        info = method_info(name)
        assert info.declarations["paper"] in rows[name]
        assert f"{info.cost:.2f}" in rows[name]
        assert all(term in rows[name] for term in info.declarations["terms"])
    for name, (base, _) in methods.VARIANTS.items():
        assert f"{base} with" in rows[name]
    assert {method_info(name).cost for name in ("linear_probe", "fine_tuning", "delta")} == {1 / 3, 1.0, 4 / 3}
