"""`llorch-pool models`: the catalog, and the files of its models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pool_ctl.commands import QuickApp
from pool_ctl.options import CatalogOption, JsonOption, ModelArgument, session_of

app = QuickApp(help="Find, download, check and remove models.")


@app.command()
def catalog(
    ctx: typer.Context, catalog: CatalogOption = None, json_lines: JsonOption = False
) -> None:
    """Every model this pool knows, here or not."""
    session = session_of(ctx)
    from pool_ctl.rows import model_rows

    session.show("models catalog", {"models": model_rows(session.home, session.catalog(catalog))})


@app.command("list")
def list_models(
    ctx: typer.Context, catalog: CatalogOption = None, json_lines: JsonOption = False
) -> None:
    """The models that are on this machine, wholly or in part."""
    session = session_of(ctx)
    from pool_ctl.rows import model_rows

    rows = model_rows(session.home, session.catalog(catalog))
    session.show("models list", {"models": [row for row in rows if row["state"] != "missing"]})


@app.command(epilog="\b\nExample:\n  llorch-pool models show ref-llama")
def show(
    ctx: typer.Context,
    model: ModelArgument,
    context: Annotated[
        int,
        typer.Option(
            "--ctx",
            min=0,
            metavar="N",
            show_default=False,
            help="Estimate memory for this context.",
        ),
    ] = 0,
    catalog: CatalogOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Everything known of one model: its file's header and the memory it needs included."""
    session = session_of(ctx)
    from pool_ctl.rows import model_details

    entry = session.catalog(catalog).get(model)
    session.show("models show", model_details(session.home, session.settings, entry, context))


@app.command(
    epilog="\b\nExamples:\n"
    "  llorch-pool models register smol --repo bartowski/SmolLM2-135M-Instruct-GGUF \\\n"
    "      --file SmolLM2-135M-Instruct-Q4_K_M.gguf\n"
    "  llorch-pool models register mine --path ~/models/mine.gguf --alias m"
)
def register(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="ID", help="What to call it.")],
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The repository on the hub.")
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="The GGUF in it; repeat for each shard of a split one."),
    ] = None,
    path: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Instead: a GGUF on this machine.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="REV", help="Branch, tag or commit. [main]")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="What the file must hash to.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="A name for people.")] = None,
    alias: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Another id for it (repeatable).")
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="What it is good for (repeatable).")
    ] = None,
    json_lines: JsonOption = False,
) -> None:
    """Add a model to this pool's catalog."""
    session = session_of(ctx)
    from pool_core.catalog import CatalogStore, make_registration
    from pool_core.gguf import read_header

    files = file or []
    entry = make_registration(
        {
            "id": model,
            "name": name,
            "repo": repo,
            "file": files[0] if len(files) == 1 else None,
            "files": files if len(files) > 1 else None,
            "path": str(path.expanduser().absolute()) if path else None,
            "revision": revision,
            "sha256": sha256,
            "aliases": alias,
            "roles": role,
        }
    )
    if path:
        read_header(path.expanduser(), facts_only=True)
    session.show("models register", CatalogStore(session.home).register(entry).to_dict())


@app.command()
def unregister(ctx: typer.Context, model: ModelArgument, json_lines: JsonOption = False) -> None:
    """Take a model out of this pool's catalog; its files stay."""
    session = session_of(ctx)
    from pool_core.catalog import CatalogStore

    session.show("models unregister", CatalogStore(session.home).unregister(model).to_dict())


@app.command(
    epilog="\b\nExamples:\n"
    "  llorch-pool models download qwen-0.5b\n"
    "  HF_TOKEN=... llorch-pool models download gated-model"
)
def download(
    ctx: typer.Context,
    model: ModelArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Download it again although it is here.")
    ] = False,
    catalog: CatalogOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Fetch a model, going on where an earlier download stopped, and verify it."""
    session = session_of(ctx)
    from pool_core.download import download

    entry = session.catalog(catalog).get(model)
    endpoint = session.settings.hub.endpoint or None
    work = download(entry, session.home, token=session.hub_token, endpoint=endpoint, force=force)
    session.show("models download", session.console.run(work))


@app.command()
def verify(
    ctx: typer.Context,
    model: ModelArgument,
    catalog: CatalogOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Read a model's files and compare them with their sha256."""
    session = session_of(ctx)
    from pool_core.catalog import ModelStore

    entry = session.catalog(catalog).get(model)
    session.show("models verify", session.console.run(ModelStore(session.home).verify(entry)))


@app.command()
def remove(
    ctx: typer.Context,
    model: ModelArgument,
    catalog: CatalogOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Delete a model's files; it stays in the catalog. Refused while a worker serves it."""
    session = session_of(ctx)
    from pool_core.catalog import ModelStore
    from pool_core.spawn.spawner import Spawner

    entry = session.catalog(catalog).get(model)
    Spawner(session.home, session.settings).refuse_if_serving(entry.id)
    session.show("models remove", ModelStore(session.home).remove(entry))
