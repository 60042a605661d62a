"""What is read of a method from its source text is what Python sees, or the class is refused with the reason."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.config import grid, method_source
from benchmark.config.method_options import method_info
from benchmark.config.run_config import RunConfig
from benchmark.config.sweep_file import SweepFile
from benchmark.errors import UsageError
from tests.commands import command

Write = Callable[..., str]
PLAIN = "from methods.base import Component\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module with the given text to the import path; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str | bytes, name: str = "my") -> str:
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    def forget() -> None:
        for cached in (method_info, method_source._parse, method_source._class_of):
            cached.cache_clear()
        sys.path_importer_cache.clear()

    forget()
    yield write
    forget()


@pytest.mark.parametrize(
    "text",
    [
        'from methods.smile import Smile\nclass M(Smile):\n    """mine"""\n',
        "import methods.smile\nclass M(methods.smile.Smile): pass\n",
        "from methods.smile import Smile as Base\nclass Between(Base): pass\nclass M(Between): pass\n",
        "from methods.smile import *\nclass M(Smile): pass\n",
        "from methods.smile import Smile as M\n",
    ],
)
def test_a_class_has_what_its_bases_declare(write: Write, text: str) -> None:
    write(text)
    mine, smile = method_info("my:M"), method_info("smile")
    assert mine.options.keys() == smile.options.keys()
    assert {key: mine.declarations[key] for key in ("mixer", "terms", "version")} == {
        key: smile.declarations[key] for key in ("mixer", "terms", "version")
    }
    assert mine.cost == smile.cost


def runs(*methods: object) -> tuple[RunConfig, ...]:
    file = SweepFile.model_validate({"name": "x", "datasets": ["digits"], "seeds": 1, "methods": ["fine_tuning", *methods]})
    return grid.expand(file, [], "here").runs[1:]


@pytest.mark.parametrize("base", ["from methods.smile import Smile as Base", "from methods.mixup import Mixup as Base"])
def test_a_mixer_by_its_base_is_refused_beside_another(write: Write, base: str) -> None:
    write(f"{base}\nclass M(Base):\n    pass\n")
    with pytest.raises(UsageError, match="my:M and mixup both mix inputs"):
        runs("my:M+mixup")


def test_a_sweep_sets_and_hashes_what_a_class_has_from_its_base(write: Write) -> None:
    write("from methods.smile import Smile\nclass M(Smile):\n    pass\n")
    plain, other = runs("my:M", {"name": "a", "use": "my:M", "feature_weight": 0.1})
    assert (plain.components[0].options, plain.components[0].version) == (
        runs("smile")[0].components[0].options,
        method_info("smile").declarations["version"],
    )
    assert other.components[0].options["feature_weight"] == 0.1
    assert plain.config_hash != other.config_hash
    with pytest.raises(UsageError, match="unknown option of my:M 'no_such'"):
        runs({"name": "a", "use": "my:M", "no_such": 0.1})


def test_two_bases_are_asked_in_pythons_order(write: Write) -> None:
    write(
        PLAIN + "class A(Component):\n    views = 2\n    def __init__(self, *, a: int = 1): pass\n"
        "class B(Component):\n    views = 3\n    mixer = True\n    def __init__(self, *, b: int = 1): pass\nclass M(A, B): pass\n"
    )
    info = method_info("my:M")
    assert (info.declarations["views"], info.declarations["mixer"], list(info.options)) == (2, True, ["a"])


def test_a_package_that_passes_its_class_on_is_followed(write: Write) -> None:
    write(PLAIN + "class M(Component):\n    def __init__(self, *, w: float = 1.0): pass\n", "pack.inner")
    write("from .inner import M\n", "pack.__init__")
    assert list(method_info("pack:M").options) == ["w"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class M: pass\n", "it is no method: derive it from methods.base.Component"),
        ("import collections\nclass M(collections.OrderedDict): pass\n", "cannot be read"),
        ("class M(nowhere.Base): pass\n", "base class 'nowhere.Base'"),
        (PLAIN + "class M(type('X', (Component,), {})): pass\n", "cannot be read"),
        (PLAIN + "from dataclasses import dataclass\n@dataclass\nclass M(Component):\n    w: float = 1.0\n", "'dataclass'"),
        (PLAIN + "class M(Component, metaclass=type): pass\n", "metaclass"),
        (PLAIN + "import os\nclass M(Component):\n    if os.sep:\n        mixer = True\n", "'mixer'"),
        (PLAIN + "class M(Component):\n    views = 1\n    views += 1\n", "'views'"),
        (PLAIN + "class M(Component):\n    @property\n    def views(self): return 2\n", "'views'"),
        (PLAIN + "class M(Component):\n    pass\nM.mixer = True\n", "M.mixer"),
        (PLAIN + "class M(Component):\n    def __init__(self, *, w: float = 'x'): pass\n", "its default 'x'"),
        (PLAIN + "class M(Component):\n    def __init__(self, *, w: float = 1e999): pass\n", "no finite number"),
        (PLAIN + "class M(Component):\n    def __init__(self, *, w: [].append(1) = 1): pass\n", "no type of an option"),
        (PLAIN + "class M(Component):\n    def __init__(self, *, w: __import__('os').system('true') = 1): pass\n", "no type of an option"),
        (PLAIN + "class M(Component):\n    def __init__(self, **options): pass\n", "keyword-only"),
        ("class M(M): pass\n", "derived from itself"),
        ("x = " + "(" * 500, "cannot be read as Python source"),
    ],
)
def test_what_the_text_cannot_tell_is_refused(write: Write, text: str, words: str) -> None:
    write(text)
    with pytest.raises(UsageError) as error:
        method_info("my:M")
    assert words in str(error.value)
    assert "my:M" in str(error.value)


REACH = "[c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'catch_warnings'][0]()._module.__builtins__['open'](MARK, 'w')"
"""What reaches ``open`` from an expression that is given no builtins."""


@pytest.mark.parametrize("expression", ["open(MARK, 'w')", REACH, f"int | {REACH}", f"list[{REACH}]", f"'{REACH}'"])
@pytest.mark.parametrize("text", ["w: EXPRESSION = 1", "w: int = EXPRESSION"])
@pytest.mark.parametrize("arguments", [("plan", "{sweep}"), ("describe", "my:M")])
def test_annotations_and_defaults_are_read_without_being_run(
    write: Write, expression: str, text: str, arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "ran"
    expression = expression.replace("'", '"') if expression.startswith(("open", "[", "int", "list")) else expression.replace("'", '"""')
    write(
        PLAIN
        + f"class M(Component):\n    def __init__(self, *, {text.replace('EXPRESSION', expression)}): pass\n".replace(
            "MARK", repr(str(mark))
        )
    )
    sweep = tmp_path / "x.yaml"
    sweep.write_text("name: x\ndatasets: [digits]\nseeds: 1\nmethods: [fine_tuning, 'my:M']\n")
    code, shown = command(capsys, *(part.format(sweep=sweep) for part in arguments))
    assert (code, shown.startswith("error: "), "my:M" in shown) == (2, True, True), shown
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + (PLAIN + "class M(Component):\n    def __init__(self, *, w: int = 1): pass\n").encode(),
        b"#!/usr/bin/env python\r\n# vim: set fileencoding=cp1252 :\r\n# 10 \x80\r\n"
        + (PLAIN + "class M(Component):\n    def __init__(self, *, w: int = 1): pass\n").replace("\n", "\r\n").encode(),
        b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + (PLAIN + "class M(Component):\n    def __init__(self, *, w: int = 1): pass\n").encode(),
    ],
)
def test_a_file_is_read_in_the_encoding_that_python_reads_it_in(write: Write, content: bytes) -> None:
    write(content)
    assert list(method_info("my:M").options) == ["w"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_options_are_finite(value: float) -> None:
    with pytest.raises(UsageError, match="not a valid value"):
        method_info("smile").resolve({"feature_weight": value}, "here")
