"""`tunewise predict`: for a text on the terminal, for a file to CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunewise.cli.predicting_rewards import reward_lines
from tunewise.commit import export_file
from tunewise.data.picture import shown_text
from tunewise.data.prepare import load_split
from tunewise.data.settings import DataConfig
from tunewise.engine.model_meta import schema_from
from tunewise.errors import RecipeError
from tunewise.recipe import recipe_from
from tunewise.tracking.progress import plain_lines, plain_text
from tunewise.tracking.record import read_record
from tunewise.types import Schema, Split

if TYPE_CHECKING:
    from tunewise.engine.language_model import LanguageModel
    from tunewise.engine.text_model import TextModel

FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four in full width, as typed in Japan


def predict_text(run: Path, text: list[str], options: Mapping[str, Any]) -> None:
    """Prints the answer for one text (or one pair); of a language model, what it writes.

    Args:
        options: of generation.
    """
    model = _loaded(run, options)
    if model.schema.is_language and hasattr(model, "generate"):
        if len(text) > 1:
            raise RecipeError("a language model goes on with one text", where="--text", fix="give one")
        print(plain_lines(model.generate(text, **options)[0]))
        return
    (answer,) = model.predict([text[0] if len(text) == 1 else tuple(text)])
    if "entities" in answer:
        for entity in answer["entities"]:
            print(f"  {entity['score']:6.1%}  {plain_text(entity['type'])}: {plain_text(entity['text'])}")
        print(f"{len(answer['entities'])} entities in {len(answer['words'])} words")
        return
    if "value" in answer or "reward" in answer:
        print(f"{answer.get('value', answer.get('reward')):.4f}")
        return
    print(plain_text(answer["label"] if "label" in answer else ", ".join(answer["labels"]) or "(no label)"))
    for label, probability in sorted(answer["probabilities"].items(), key=lambda item: -item[1])[:10]:
        print(f"  {probability:6.1%}  {plain_text(label)}")


def _loaded(run: Path, options: Mapping[str, Any]) -> TextModel | LanguageModel:
    """The model of a run; one that writes, where there are options of generation.

    Raises:
        RecipeError: it does not write.
    """
    if options:
        from tunewise.cli.chatting import language_model

        return language_model(run)
    from tunewise.engine.text_model import load

    return load(run)


def predict_file(
    run: Path, data: Path | None, out: Path | None, batch_size: int, options: Mapping[str, Any] | None = None
) -> None:
    """Writes a CSV file with one line per row of the data, in its order: texts or names of images, decision,
    probabilities; for entities the words, their tags, and the entities; of a language model the prompt, and what it
    wrote; of a reward model the answers, and what each is worth.

    Args:
        options: of generation.
    """
    if data is None or out is None:
        raise RecipeError("nothing to predict for", fix='give --text "...", or --data FILE with --out predictions.csv')
    config, schema = trained_on(run)
    model = _loaded(run, options or {})
    if schema.task == "preference" and not hasattr(model, "generate"):
        rows, lines = reward_lines(model, config, schema, data, batch_size)
        export_file(out, "".join(csv_line(line) for line in lines))
        print(f"{rows:,} predictions: {out}")
        return
    split = load_split(config, str(data.resolve()), data.resolve().parent, schema, "data", with_targets=False)
    if hasattr(model, "generate"):
        written = model.answers(split, batch_size=batch_size, **(options or {}))
        export_file(out, "".join(_written_lines(schema, split, written, out.suffix == ".jsonl")))
    else:
        export_file(out, "".join(csv_line(line) for line in _lines(model, split, batch_size)))
    print(f"{len(split):,} predictions: {out}")


def trained_on(run: Path) -> tuple[DataConfig, Schema]:
    """The data section and schema that the model of a run was trained with."""
    record = read_record(run)
    plain = record.data.schema
    return recipe_from(record.recipe).data, schema_from(plain)


def _written_lines(schema: Schema, split: Split, written: list[str], as_json: bool) -> Iterator[str]:
    """The row's first column (a text, a prompt, a conversation), and what was written: as JSON, or as CSV."""
    names = (schema.text[0], "written")
    if as_json:
        rows = zip(split.texts, written, strict=True)
        yield from (
            json.dumps(dict(zip(names, (row[0], text), strict=True)), ensure_ascii=False) + "\n" for row, text in rows
        )
        return
    yield csv_line(list(names))
    yield from (csv_line([row[0], text]) for row, text in zip(split.texts, written, strict=True))


def _lines(model: TextModel, split: Split, batch_size: int) -> Iterator[list[Any]]:
    if model.task == "token_classification":
        yield [*model.schema.text, "prediction", "entities"]
        for texts, said in zip(split.texts, model.predict(split.texts, batch_size), strict=True):
            entities = " | ".join(f"{entity['type']}: {entity['text']}" for entity in said["entities"])
            yield [*texts, " ".join(said["tags"]), entities]
        return
    scores = model.scores(split.texts, batch_size)
    decisions = model.decisions(scores)
    if model.task == "regression":
        yield [*model.schema.columns, "prediction"]
        yield from ([*map(shown_text, texts), float(value)] for texts, value in zip(split.texts, scores, strict=True))
        return
    yield [*model.schema.columns, "prediction", *(f"p({label})" for label in model.labels)]
    for texts, row, decision in zip(split.texts, scores, decisions, strict=True):
        if model.task == "multilabel":
            chosen = "|".join(label for label, marked in zip(model.labels, decision, strict=True) if marked)
        else:
            chosen = model.labels[int(decision)]
        yield [*map(shown_text, texts), chosen, *(f"{value:.6f}" for value in row)]


def csv_line(values: list[Any]) -> str:
    """A line of a CSV file. The library quotes a carriage return only where it ends lines too, and a reader would take
    one that is not quoted for the end of the line."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a quote before it; numbers stay as they are."""
    if not isinstance(value, str) or _is_number(value):
        return value
    begins = value.lstrip()
    return f"'{value}" if begins.startswith(FORMULA) or value[:1] in ("\t", "\r", "\n") else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
