"""Bad tokenisers and run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from case import Arguments, Case, Desk, error
from cases_adapters import predicting_with
from cases_models import change, training_on

UPDATE = "update tunewise"


def with_a_word_too_many(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["straw"] = 200
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def without_special_tokens(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    plain = {key: value for key, value in config.items() if not key.endswith("_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(plain))


def pads_with(token: str, note: str | None) -> object:
    """Whether padding is this token, nothing of a text is taken for padding, and what the record will say."""

    def proof(desk: Desk) -> None:
        from tunewise.data.tokenise import tokenise

        net = loaded(desk)
        assert net.tokenizer.pad_token == token and net.model.config.pad_token_id == net.tokenizer.pad_token_id
        assert net.notes == ((note,) if note else ())
        rows = [("my parcel is late",), ("thanks",)]
        tokens = tokenise(rows, net.tokenizer, net.max_length)
        batch = tokens.batch([0, 1])
        assert batch["attention_mask"].sum(dim=1).tolist() == tokens.lengths.tolist() == [6, 3]
        assert batch["input_ids"][0, 5] == net.tokenizer.sep_token_id and batch["attention_mask"][0, 5] == 1

    return proof


def loaded(desk: Desk):
    from tunewise.models.load import load_net
    from tunewise.models.locate import locate
    from tunewise.types import Schema

    return load_net(locate("model", desk.folder), Schema("classification", ("text",), "label", ("no", "yes")))


def reads_what_the_model_can_number(desk: Desk) -> None:
    assert loaded(desk).max_length == 64


def newer_record(desk: Desk) -> Arguments:
    from tunewise.commit import sealed

    run = Path(shutil.copytree(desk.finished_run(), desk.folder / "run"))
    record = json.loads((run / "record.json").read_text())
    record.pop("sha256")
    (run / "record.json").write_text(sealed({**record, "schema_version": 99}))
    data = desk.write("new.csv", "text\nthe good message\n")
    return ["predict", str(run), "--data", str(data), "--out", str(desk.folder / "predictions.csv")]


def newer_manifest(folder: Path) -> None:
    from tunewise.commit import sealed

    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("sha256")
    (folder / "manifest.json").write_text(sealed({**manifest, "format": 99}))


def read_only(desk: Desk) -> Arguments:
    run = Path(shutil.copytree(desk.finished_run(), desk.folder / "run"))
    (desk.folder / "before").write_text(listing(run))
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return ["predict", str(run), "--text", "the good message"]


def listing(run: Path) -> str:
    return "\n".join(f"{path} {path.stat().st_mtime_ns}" for path in sorted(run.rglob("*")))


def nothing_was_written(desk: Desk) -> None:
    assert listing(desk.folder / "run") == (desk.folder / "before").read_text()
    for path in (desk.folder / "run", *(desk.folder / "run").rglob("*")):
        path.chmod(0o755)


CASES: tuple[Case, ...] = (
    Case(
        "vocabulary larger than the embedding",
        "tokenizer.json",
        training_on(with_a_word_too_many),
        error(
            "the tokeniser has ids up to 200, but the model embeds 200 tokens",
            "{folder}/model/tokenizer.json",
            "take the tokeniser that belongs to this model",
        ),
    ),
    Case(
        "pad missing or equal to eos",
        "missing, with an end of text",
        training_on(change("tokenizer_config.json", pad_token=None, eos_token="[SEP]")),
        read_as="the end of text pads, with the attention mask set by the lengths of texts; the record says so",
        proof=pads_with("[SEP]", "the tokeniser has no padding token; '[SEP]' pads, with the attention mask set"),
    ),
    Case(
        "pad missing or equal to eos",
        "equal to eos",
        training_on(change("tokenizer_config.json", pad_token="[SEP]", eos_token="[SEP]")),
        read_as="the end of text pads; real ends of text stay visible, since the attention mask follows from lengths",
        proof=pads_with("[SEP]", None),
    ),
    Case(
        "pad missing or equal to eos",
        "no token at all",
        training_on(without_special_tokens),
        error(
            "the tokeniser has no token to pad with (pad, eos or unk)",
            "{folder}/model",
            "set pad_token in its tokenizer_config.json",
        ),
        reads_weights="special tokens are known once transformers has loaded the tokeniser",
    ),
    Case(
        "model_max_length of 1e30",
        "in tokenizer_config.json",
        training_on(change("tokenizer_config.json", model_max_length=10**30)),
        read_as="no limit of the tokeniser's: texts are cut at the positions that the model has",
        proof=reads_what_the_model_can_number,
    ),
    Case(
        "run folder from a newer version or read-only",
        "newer record",
        newer_record,
        error(
            "this record has version 99, written by a newer tunewise; this one reads 1",
            "{folder}/run/record.json",
            UPDATE,
        ),
        exit_code=1,
    ),
    Case(
        "run folder from a newer version or read-only",
        "newer model folder",
        predicting_with(change("tunewise.json", format=99), sealed=True),
        error(
            "the model was made by a newer tunewise (format 99, this one reads 6)",
            "{folder}/run/model/tunewise.json",
            UPDATE,
        ),
        exit_code=1,
    ),
    Case(
        "run folder from a newer version or read-only",
        "newer manifest",
        predicting_with(newer_manifest),
        error("this folder has format 99, and this tunewise reads up to 1", "{folder}/run/model", UPDATE),
        exit_code=1,
    ),
    Case(
        "run folder from a newer version or read-only",
        "read-only",
        read_only,
        read_as="what it is: a run to predict with; nothing is written into it",
        proof=nothing_was_written,
        reads_weights="it predicts",
    ),
)
