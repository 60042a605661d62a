"""Commands about what there is to choose from: ``list``, ``data``, ``backbones``, ``describe``, ``doctor``."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.terminal import console

data_app = typer.Typer(no_args_is_help=True, help="Prepare data sets and look at them.")
backbones_app = typer.Typer(no_args_is_help=True, help="Prepare pre-trained weights and look at them.")
list_app = typer.Typer(no_args_is_help=True, help="What there is to choose from.")


SPLIT = "Own images without a test split: the share of each class that is for training, as 'split' in a sweep file."
Split = Annotated[float | None, typer.Option(min=0, max=1, help=SPLIT)]
TestFrom = Annotated[str | None, typer.Option(help="Own images without a test split: the split that is test, as in a sweep file.")]


def describe(method: str) -> None:
    """Print a method's equation, and every option with its default."""
    from benchmark.cli import listing

    listing.describe(method, console)


def doctor() -> None:
    """Check that this installation can run: packages, folders, embedded weights, devices."""
    from benchmark.cli import listing

    raise typer.Exit(listing.doctor(console))


@list_app.command("methods")
def list_methods() -> None:
    """Methods and named variants."""
    from benchmark.cli import listing

    listing.methods_table(console)


@list_app.command("backbones")
@backbones_app.command("list")
def list_backbones() -> None:
    """The embedded backbone and every prepared one."""
    from benchmark.cli import listing

    listing.backbones_table(console)


@list_app.command("sweeps")
def list_sweeps() -> None:
    """Sweep files that come with the project."""
    from benchmark.cli import listing

    listing.sweeps_table(console)


@backbones_app.command("prepare")
def prepare_backbone(name: str, source: Annotated[Path | None, typer.Option("--from", help="A weight file that you have.")] = None) -> None:
    """Fetch a timm tag once, or read it from a file; runs then need no network."""
    from benchmark.training.backbones import prepare

    weights = prepare(name, source)
    console.print(f"{name}: prepared, sha256 {weights.sha256}", highlight=False)


@backbones_app.command("verify")
def verify_backbone(name: str) -> None:
    """Check prepared weights against their recorded sha256, and load them."""
    from benchmark.training.backbones import verify

    console.print(f"{name}: intact, sha256 {verify(name)}", highlight=False)


@data_app.command("prepare")
def prepare_data(
    name: str,
    source: Annotated[Path | None, typer.Option("--from", help="A folder, archive or parquet file that you have.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the official files; a broken download is continued.")] = False,
    resize: Annotated[int, typer.Option(min=8, help="Pixels of the decoded copy: of both sides, or of the shorter one.")] = 256,
    keep_aspect: Annotated[bool | None, typer.Option(help="Keep the aspect ratio (default: as published work on this data set).")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Accept a copy that is not complete: what is there of it.")] = False,
    split: Split = None,
    test_from: TestFrom = None,
) -> None:
    """Fetch or read a data set, check its counts, and decode it; runs then need no network."""
    from benchmark.cli import data

    data.prepare(name, source, download, resize, keep_aspect, partial, console, split, test_from)


@data_app.command("list")
def list_data() -> None:
    """Data sets: prepared, present or missing, and their size on disk."""
    from benchmark.cli import data

    data.table(console)


@data_app.command("verify")
def verify_data(name: str, split: Split = None, test_from: TestFrom = None) -> None:
    """Check counts, every decoded copy, and that the images are still those which were decoded."""
    from benchmark.cli import data

    data.check(name, console, split, test_from)


@data_app.command("show")
def show_data(
    name: str,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    out: Annotated[Path | None, typer.Option(help="The PNG to write (default: NAME-SPLIT.png).")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help=SPLIT)] = None,
    test_from: TestFrom = None,
) -> None:
    """Say what is known of a data set, and write a contact sheet: images with their labels."""
    from benchmark.cli import data

    data.show(name, split, out, console, share, test_from)
