"""The keys of a sweep file."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from benchmark.config import weights
from benchmark.config.run_config import Fraction, Section
from benchmark.config.slurm_options import Slurm
from benchmark.config.tune_options import Tune
from benchmark.errors import unknown
from benchmark.report.measures import COLUMN_NAMES

MOST_SEEDS = 100_000


class Override(Section):
    """``set`` dotted keys in every cell that fits all of ``match``; a match that hits nothing is an error unless ``optional``.

    ``method`` fits every composition that holds it, ``label`` the one row of ``methods`` that is called so.
    """

    match: dict[str, Any] = {}
    set: dict[str, Any]
    optional: bool = False


class SweepFile(Section):
    """The keys of a sweep file. seeds: a count, or a list of seed indices. datasets, methods: each entry is a name or a mapping.

    tune: what ``tune`` searches. selection: the file of winners that ``select`` wrote, whose settings the runs take.
    give_up_after: this many runs that all fail alike, before any is done, stop the sweep (null: never). slurm: how jobs are submitted.
    claims: what is expected (:mod:`benchmark.config.claim_file`), or the file that says it. columns: what main tables show besides.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=100)]
    backbone: str = weights.EMBEDDED
    pretrained: bool = True
    datasets: list[str | dict[str, Any]] = Field(min_length=1)
    fractions: list[Fraction] = Field([1.0], min_length=1)
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = 5
    baseline: str = "fine_tuning"
    methods: list[str | dict[str, Any]] = Field(min_length=1)
    protocol: str = "smile"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "off", "on"] = "auto"
    fold_bn: Literal["auto", "off", "on"] = "auto"
    training: dict[str, Any] = {}
    linearity: dict[str, Any] = {}
    data: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    overrides: list[Override] = []
    tune: Tune | None = None
    selection: str | None = None
    give_up_after: Annotated[int, Field(ge=1)] | None = 5
    slurm: Slurm = Slurm()
    claims: str | list[dict[str, Any]] = []
    columns: list[str] = []

    @field_validator("name")
    @classmethod
    def _is_a_folder_below_results(cls, value: str) -> str:
        if not value.strip("."):
            raise ValueError("this names no folder of its own: use a letter or digit")
        return value

    @field_validator("columns")
    @classmethod
    def _columns_are_known(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in COLUMN_NAMES:
                raise ValueError(unknown("column", name, COLUMN_NAMES))
            if value.count(name) > 1:
                raise ValueError(f"'{name}' is given twice")
        return value

    @field_validator("data")
    @classmethod
    def _data_sets_are_named_by_datasets(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "use" in value:
            raise ValueError("a data set is chosen by 'datasets', not by data.use: datasets: [{name: NAME, use: 'folder:PATH'}]")
        return value
