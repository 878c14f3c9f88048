"""Problems: where do the public sweeps come from?

    python -m benchmarks.problems.sweeps list
    python -m benchmarks.problems.sweeps get steplaw-moe --folder sweeps

Downloads a sweep from its source at a pinned commit, checks it against its SHA-256, keeps it in a
cache folder, and writes it in our columns. Without a network, `HORIZON_BO_DATA` names a folder
that holds the sweeps already.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

_STEPLAW = (
    "https://raw.githubusercontent.com/step-law/steplaw/32a8f4cc50247695fb56cc6c9117abdf67c97763"
)
_SCALEBENCH = (
    "https://raw.githubusercontent.com/PlanarG/active-sl/e0a58ffde4f6fdfb20880d47d6d180fdbcb1440d"
)
#: All parameters of each of Step Law's expert models.
_ALL_EXPERTS = 2.15e9
#: Tokens per sequence of both Step Law sweeps, by which their batches are counted.
_SEQUENCE = 2048


@dataclass(frozen=True, kw_only=True)
class PublicSweep:
    """A sweep others have published.

    Args:
        name: What it is called here.
        url: Where it lies, at a pinned commit.
        sha256: Of the file there.
        licence: Under which its authors give it.
        source: Paper or repository to cite.
        columns: Our columns as functions of theirs.
    """

    name: str
    url: str
    sha256: str
    licence: str
    source: str
    columns: Mapping[str, Callable[[pd.DataFrame], pd.Series]]


def _steplaw_columns(params: str) -> Mapping[str, Callable[[pd.DataFrame], pd.Series]]:
    """Columns of Step Law's own files, which name their sizes differently."""
    return {
        "learning_rate": lambda t: t["lr"],
        "params": lambda t: t[params],
        "tokens": lambda t: t["D"],
        "batch_tokens": lambda t: t["bs"] * _SEQUENCE,
        "loss": lambda t: t["smooth loss"],
    }


SWEEPS = (
    PublicSweep(
        name="steplaw-dense",
        url=f"{_STEPLAW}/data/dense_lr_bs_loss.csv",
        sha256="9e46181076c04d450294d75dfe6f72adc416e231e154a07b337e378f9410002c",
        licence="none stated in the repository",
        source="Li et al. (2025), arXiv:2503.04715; dense transformers",
        columns=_steplaw_columns("N"),
    ),
    PublicSweep(
        name="steplaw-moe",
        url=f"{_STEPLAW}/data/moe_lr_bs_loss.csv",
        sha256="653d585244a7b227423007e8b796bc16d76f6d24eb87b1919b8f048a91897b92",
        licence="none stated in the repository",
        source="Li et al. (2025), arXiv:2503.04715; experts, `params` being the active ones",
        columns={**_steplaw_columns("Na"), "sparsity": lambda t: _ALL_EXPERTS / t["Na"]},
    ),
    PublicSweep(
        name="scalebench-lr",
        url=f"{_SCALEBENCH}/benchmark/dataset/lr_bsz_scaling_law/train-00000-of-00001.parquet",
        sha256="3e8bf513e7c7da2b82e3d324c19643256e3f5cc5770aa4d0dcbc0aa3c38768e5",
        licence="MIT",
        source="arXiv:2604.22753; smaller cells of Step Law, runs above 3.7 nats dropped",
        columns={
            "learning_rate": lambda t: t["lr"],
            "params": lambda t: t["non_embedding_param_size"],
            "tokens": lambda t: t["data_size"],
            "batch_tokens": lambda t: t["bsz"] * _SEQUENCE,
            "loss": lambda t: t["lm_loss"],
        },
    ),
)


def fetched(sweep: PublicSweep, cache: Path) -> Path:
    """The published file, downloaded once and checked.

    Raises:
        ValueError: The file is not the one that was pinned.
    """
    import pooch

    name = f"{sweep.name}{Path(sweep.url).suffix}"
    return Path(
        pooch.retrieve(sweep.url, known_hash=f"sha256:{sweep.sha256}", fname=name, path=cache)
    )


def table_of(sweep: PublicSweep, file: Path) -> pd.DataFrame:
    """The sweep in our columns, one row a run."""
    theirs = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    ours = {name: column(theirs) for name, column in sweep.columns.items()}
    return pd.DataFrame({**ours, "schedule": "cosine", "source": sweep.name})


app = typer.Typer(help="Public sweeps to replay on.")


@app.command("list")
def show() -> None:
    """Show the sweeps, their licences and sources."""
    table = Table("name", "licence", "source", "address")
    for sweep in SWEEPS:
        table.add_row(sweep.name, sweep.licence, sweep.source, sweep.url)
    Console().print(table)


@app.command()
def get(
    name: str,
    folder: Annotated[Path, typer.Option(help="Where to write NAME.csv.")] = Path(),
    cache: Annotated[Path, typer.Option(help="Where downloads are kept.")] = Path(
        "build/downloads"
    ),
) -> None:
    """Download a sweep and write it in our columns."""
    sweep = next((sweep for sweep in SWEEPS if sweep.name == name), None)
    if sweep is None:
        known = ", ".join(sweep.name for sweep in SWEEPS)
        raise typer.BadParameter(f"{name!r} is unknown, expected one of {known}")
    typer.echo(f"licence: {sweep.licence}; source: {sweep.source}", err=True)
    folder.mkdir(parents=True, exist_ok=True)
    table_of(sweep, fetched(sweep, cache)).to_csv(folder / f"{name}.csv", index=False)
    typer.echo(folder / f"{name}.csv")


if __name__ == "__main__":
    app()
