"""The command line: reads options, calls the rooms, prints. A command imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tunewise import __version__
from tunewise.cli.options import (
    AllowCode,
    AsJson,
    Batch,
    CacheAction,
    DrawSeed,
    FileKind,
    Jobs,
    MaxNewTokens,
    MethodNames,
    ModelName,
    MoreMethods,
    Out,
    OutOfComparison,
    Overrides,
    RecipeOrImages,
    RecipePath,
    RepetitionPenalty,
    RunPath,
    RunsAction,
    Temperature,
    TopK,
    TopP,
)
from tunewise.cli.proving import conformance, verify
from tunewise.cli.sampling import sample
from tunewise.cli.souping import soup
from tunewise.cli.told_errors import told_errors
from tunewise.errors import RecipeError

app = typer.Typer(
    name="tunewise",
    help="Fine-tune a pretrained model with many methods, and see which one is worth its cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal whose encoding lacks a character shows "?" for it
            stream.reconfigure(errors="replace")
    if version:
        print(f"tunewise {__version__}")
        raise typer.Exit


@app.command()
def compare(
    recipe: RecipeOrImages,
    more: MoreMethods = None,
    out: OutOfComparison = None,
    model: ModelName = None,
    methods: MethodNames = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006 - typer wants the list itself
    jobs: Jobs = None,
    allow_code: AllowCode = False,
) -> None:
    """Train with every method and seed of the recipe, and show what each gives and costs.

    The same command again goes on where an earlier one stopped. Instead of a recipe, a folder of images will do:
    `tunewise compare photos/ --model FOLDER --methods features head full`.
    """
    with told_errors():
        from tunewise.cli.on_the_spot import out_of, recipe_of
        from tunewise.cli.watching import make_watcher
        from tunewise.comparison.compare import compare as compare_runs
        from tunewise.report.table import print_comparison

        loaded, folder = recipe_of(recipe, overrides, model, methods, more or ())
        out = out_of(recipe, out)
        watcher = make_watcher()
        try:
            done = compare_runs(loaded, out, folder=folder, watcher=watcher, allow_code=allow_code, side_by_side=jobs)
        finally:
            watcher.close()
        print_comparison(done.content)
        print(f"\nreport:  {done.report}\nresults: {done.out / 'comparison.json'}")
        if any(run["status"] != "finished" for run in done.content["runs"]):
            raise typer.Exit(1)


@app.command()
def check(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(help="Folder for a page, and a JSON file with every row found.")] = None,
    skip: Annotated[list[str], typer.Option(help="A kind of trouble not to look for.", metavar="KIND")] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
    suspects: Annotated[Path | None, typer.Option(help="CSV file for the labels that are likely wrong.")] = None,
    write_cleaned: Annotated[
        Path | None, typer.Option(help="Write the data as training would get it to this new folder.", metavar="DIR")
    ] = None,
    file_kind: Annotated[
        FileKind | None, typer.Option("--as", help="What to write it as; parquet unless given.")
    ] = None,
) -> None:
    """Look for what is wrong with the data of a recipe, before anything trains.

    The exit code is 1 where something is found that the recipe names in check.block.
    """
    with told_errors():
        from tunewise.cli.checking import check_recipe, load_skipping

        written = _written(write_cleaned, file_kind)
        loaded = load_skipping(recipe, overrides, skip)
        if not check_recipe(loaded, recipe.resolve().parent, out, as_json, written, suspects):
            raise typer.Exit(1)


def _written(folder: Path | None, kind: FileKind | None) -> tuple[Path, str] | None:
    """Where the cleaned data goes, and as what."""
    if folder is None and kind is not None:
        raise RecipeError("--as says what the cleaned data is written as", fix="give --write-cleaned DIR too")
    return folder and (folder, (kind or FileKind.PARQUET).value)


@app.command()
def estimate(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option(help="Where the results would go: that disk must suffice.")] = Path("runs"),
    overrides: Overrides = [],  # noqa: B006
    jobs: Jobs = None,
    budget: Annotated[float, typer.Option(min=0, help="Seconds of training to carry out, for each method.")] = 5.0,
    validate: Annotated[bool, typer.Option("--validate", help="Train too, and show how far off it is.")] = False,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Tell what each method of the recipe will cost on this machine: time, memory, FLOPs; and what will not fit.

    Carries out a few real steps of each, and leaves nothing behind.
    """
    with told_errors():
        from tunewise.api import load_recipe
        from tunewise.cli.estimating import print_estimate_of

        fits = print_estimate_of(
            load_recipe(recipe, overrides),
            folder=recipe.resolve().parent,
            out=out,
            jobs=jobs,
            budget=budget,
            validate=validate,
            allow_code=allow_code,
            as_json=as_json,
        )
        if not fits:
            raise typer.Exit(1)


@app.command()
def curve(
    recipe: RecipePath,
    out: Out,
    shares: Annotated[
        str | None,
        typer.Option(help="Shares of the training rows; all of them are always added.", show_default="0.1,0.2,...,1"),
    ] = None,
    method: Annotated[
        list[str],
        typer.Option(help="What draws a curve; may be given more than once. Where left out: features, or head."),
    ] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    jobs: Jobs = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Tell what more training rows would bring, against what a better method brings on those there are.

    Trains a cheap method on growing shares of the rows, and the methods that the recipe names on all of them. The same
    command again goes on where an earlier one stopped.
    """
    with told_errors():
        from tunewise.api import load_recipe
        from tunewise.cli.curving import draw_curve

        finished = draw_curve(
            load_recipe(recipe, overrides),
            out,
            folder=recipe.resolve().parent,
            shares=shares,
            methods=method,
            jobs=jobs,
            allow_code=allow_code,
            as_json=as_json,
        )
        if not finished:
            raise typer.Exit(1)


@app.command()
def train(
    recipe: RecipePath,
    out: Out,
    method: Annotated[str | None, typer.Option(help="The method, where the recipe names none or several.")] = None,
    model: Annotated[str | None, typer.Option(help="The model, where the recipe names several.")] = None,
    overrides: Overrides = [],  # noqa: B006
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that the folder holds.")] = False,
    allow_code: AllowCode = False,
) -> None:
    """Train one model with one method, and hand it over in OUT/model."""
    with told_errors():
        from tunewise.api import choose, load_recipe, train_recipe
        from tunewise.cli.printing import print_run
        from tunewise.evaluate.metrics import default_metric

        loaded = choose(load_recipe(recipe, overrides), method, model)
        record = train_recipe(loaded, out, folder=recipe.resolve().parent, resume=resume, allow_code=allow_code)
        print_run(record.as_dict(), loaded.metric or default_metric(record.data.schema["task"]))
        print(f"\nmodel:  {out / 'model'}\nrecord: {out / 'record.json'}")


@app.command()
def predict(
    run: RunPath,
    text: Annotated[list[str], typer.Option(help="A text; given twice for a pair of texts.")] = [],  # noqa: B006
    data: Annotated[Path | None, typer.Option(help="A file with texts, in the columns of the training data.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file for the predictions of --data; of texts written, .jsonl too.")
    ] = None,
    batch_size: Batch = 64,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: DrawSeed = None,
) -> None:
    """Predict with a trained model: for a text, or for every row of a file. A language model writes what follows.

    In the CSV file, text that a spreadsheet would take for a formula (=, +, -, @ at its start) gets a ' before it.
    """
    with told_errors():
        from tunewise.cli.predicting import predict_file, predict_text

        options = _given(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
        )
        if text:
            predict_text(run, text, options)
        else:
            predict_file(run, data, out, batch_size, options)


def _given(**options: float | None) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def chat(
    run: RunPath,
    system: Annotated[str | None, typer.Option(help="A message that comes before all others.")] = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: DrawSeed = None,
) -> None:
    """Talk with a trained language model: each line is a message, the answer appears as it is written.

    /reset forgets what was said, /exit ends, Ctrl-C stops an answer.
    """
    with told_errors():
        from tunewise.cli.chatting import chat_with

        options = _given(
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
        )
        chat_with(run, system, seed or 0, {"max_new_tokens": 128, **options})


@app.command()
def evaluate(
    run: RunPath,
    data: Annotated[Path, typer.Option(help="A file with texts and labels, in the columns of the training data.")],
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Score a trained model on new labelled rows, with confidence intervals."""
    with told_errors():
        from tunewise.cli.evaluating import evaluate_file

        evaluate_file(run, data, allow_code, as_json)


@app.command()
def winrate(
    first: RunPath,
    second: RunPath,
    reward: Annotated[Path, typer.Option(help="The run of a reward model, a regression or a classifier.")],
    label: Annotated[str | None, typer.Option(help="With a classifier: the class that is wanted.")] = None,
    test: Annotated[str | None, typer.Option(help="The test set; the first where left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Judge what two language models wrote for the same test rows: how often the first one wins."""
    with told_errors():
        from tunewise.cli.winning import show_win_rate

        show_win_rate(first, second, reward, label, test, as_json)


@app.command()
def runs(
    action: Annotated[
        RunsAction, typer.Argument(help="List runs, or compare their files with what was written.")
    ] = RunsAction.LIST,
    places: Annotated[
        list[Path], typer.Argument(help="Runs, or folders to look in; where left out, --out.", metavar="[FOLDER]...")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Folder to look in.")] = Path("runs"),
    metric: Annotated[str | None, typer.Option(help="The metric to show.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what was run, with scores and costs side by side; or verify that every file is as it was written."""
    with told_errors():
        if action is RunsAction.VERIFY:
            from tunewise.cli.verifying_runs import verify_runs

            if not verify_runs(places or [out], as_json):
                raise typer.Exit(1)
            return
        from tunewise.cli.listing import list_runs

        list_runs(places or [out], metric, as_json)


@app.command()
def methods(
    names: Annotated[list[str], typer.Argument(help="Methods to show in full.", metavar="[NAME]...")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """List the methods: what each trains and which models it works with; of one, options and source too."""
    with told_errors():
        from tunewise.cli.listing import list_methods

        list_methods(names, as_json)


app.command()(conformance)
app.command()(verify)
app.command()(soup)
app.command()(sample)


@app.command()
def cache(
    action: Annotated[CacheAction, typer.Argument(help="Show what is kept, or remove all of it.")] = CacheAction.SHOW,
    as_json: AsJson = False,
) -> None:
    """Show what runs keep for each other (states of frozen blocks, vectors of texts, tokens), or remove it.

    It lies where TUNEWISE_CACHE says, and takes at most what TUNEWISE_CACHE_LIMIT says (4GB; 0 switches it off).
    """
    with told_errors():
        from tunewise.cli.caching import clear_cache, show_cache

        (clear_cache if action is CacheAction.CLEAR else show_cache)(as_json)


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="A file, or a folder of images.", metavar="DATA")],
    out: Annotated[Path, typer.Option(help="Where to write the recipe.")] = Path("recipe.yaml"),
    model: Annotated[str | None, typer.Option(help="Folder or hub id; for texts with labels MiniLM.")] = None,
) -> None:
    """Write a commented recipe from a look at the data."""
    with told_errors():
        from tunewise.cli.initialising import write_first_recipe

        write_first_recipe(data, out, model)


if __name__ == "__main__":
    app()
