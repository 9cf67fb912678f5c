"""The runs that a soup is made of: read from their folders, and refused where their mean would make no sense."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunewise.engine.averaging import check_same_shapes, check_same_statistics
from tunewise.engine.model_meta import read_meta, schema_from
from tunewise.errors import ModelError, RecipeError, StoreError
from tunewise.models.from_runs import handed_over, manifest_digest
from tunewise.models.load import load_net
from tunewise.models.located import LocatedModel
from tunewise.models.weights_files import sample_digest
from tunewise.tracking.record import RunRecord, read_record

READS = ("preprocessor_config.json", "processor_config.json", "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")
"""Files of a model folder that decide what the model reads of a text or an image."""


@dataclass(frozen=True)
class Member:
    """A finished run. `place` is the folder of its model, `meta` what tunewise.json says there, `digest` of all files
    of the model."""

    folder: Path
    place: Path
    record: RunRecord
    meta: dict[str, Any]
    digest: str

    @property
    def head_seed(self) -> int:
        """What decided the first values of its output layer, where the base model brings none."""
        seed = (self.record.recipe.get("train") or {}).get("head_seed")
        return self.record.seed if seed is None else seed


def read_members(folders: Sequence[Path]) -> list[Member]:
    """The runs in these folders, in their order, every file of their models verified.

    Raises:
        RecipeError: fewer than two, or one twice.
        StoreError, CorruptError: there is no finished run in a folder, or it is damaged.
        ModelError: a run does not hand over a whole model.
    """
    places = [folder.resolve() for folder in folders]
    if len(places) < 2:
        raise RecipeError(f"a soup is made of two runs or more; came {len(places)}", fix="name more run folders")
    if twice := next((place for place in places if places.count(place) > 1), None):
        raise RecipeError("a run is named twice, and would count double", where=str(twice), fix="name it once")
    return [_member(folder) for folder in folders]


def _member(folder: Path) -> Member:
    record = read_record(folder)
    if record.status != "finished":
        raise StoreError(
            f"the run has not finished ({record.status})", where=str(folder), fix="go on with it, or leave it out"
        )
    place = handed_over(folder)
    if place is None:
        raise StoreError(
            "the run has no model", where=str(folder), fix="leave it out; baselines, for one, hand over none"
        )
    meta = read_meta(place)
    if meta["kind"] != "transformers":
        raise ModelError(
            f"the run ({record.method}) handed over layers for a base model, not a whole model, so that there is "
            "nothing to average",
            where=str(folder),
            fix="leave it out; of a method that has the option, train it with `merge: true`",
        )
    return Member(folder, place, record, meta, manifest_digest(place))


def check_members(members: Sequence[Member], base: LocatedModel) -> None:
    """Makes sure that all began from the same weights, read the same, and answer the same.

    Args:
        base: the model that the first was trained from.

    Raises:
        RecipeError, StoreError, ModelError: with what differs, in which run, and what to do.
    """
    if members[0].meta["language"] or schema_from(members[0].meta["schema"]).is_language:
        raise RecipeError(
            "soups are of models that give labels or numbers; this one was trained to write or to judge answers",
            where=str(members[0].folder),
            fix="take runs of classification, multi-label classification, regression or entities",
        )
    for member in members:
        _check_pretrained(member)
    for what, of, fix in _SAME:
        _check_same(members, what, of, fix)
    _check_base(members)
    places = [member.place for member in members]
    check_same_shapes(places)
    check_same_statistics(places)
    _check_output_layer(members, base)


def _check_pretrained(member: Member) -> None:
    if any(plan.get("reset") for plan in member.record.plans):
        raise ModelError(
            f"the run ({member.record.method}) began from random weights; what two of such runs learn lies too far "
            "apart to be averaged",
            where=str(member.folder),
            fix="leave it out: soups are of runs that go on from one pretrained model",
        )


_OTHER_ROWS = (
    "train all runs on the same rows: a member that has seen what another is tested on would make the scores worthless"
)
_SAME: tuple[tuple[str, Callable[[Member], Any], str], ...] = (
    ("task, columns or labels", lambda member: member.meta["schema"], "make soups of runs of one task"),
    ("rows", lambda member: member.record.data and member.record.data.fingerprint, _OTHER_ROWS),
    ("length of texts (train.max_length)", lambda member: member.meta["max_length"], "take runs that read the same"),
    ("end of long texts (train.cut)", lambda member: member.meta["kept"], "take runs that read the same"),
    ("cleaning of texts (data.clean)", lambda member: member.meta["clean"], "take runs that read the same"),
    ("positive class", lambda member: member.meta["positive"], "take runs with the same evaluate.positive"),
    (
        "tokeniser or image processor",
        lambda member: _read_by(member.place),
        "take runs of one base model, trained since its files were last changed",
    ),
)


def _check_same(members: Sequence[Member], what: str, of: Callable[[Member], Any], fix: str) -> None:
    for member in members[1:]:
        if of(member) != of(members[0]):
            raise ModelError(
                f"the runs have not the same {what}: this one differs from {members[0].folder}",
                where=str(member.folder),
                fix=fix,
            )


def _read_by(place: Path) -> dict[str, str]:
    return {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in READS if (place / name).is_file()}


def _check_base(members: Sequence[Member]) -> None:
    """The same folder, or where that differs equal weights; what has been deleted cannot be told apart."""
    first = members[0].record.model
    digests: dict[str, str] = {}

    def weights(path: str) -> str:
        if path not in digests:
            digests[path] = sample_digest(Path(path)) if Path(path).is_dir() else path
        return digests[path]

    for member in members[1:]:
        other = member.record.model
        same = other.fingerprint == first.fingerprint
        if not same or (other.path != first.path and weights(other.path) != weights(first.path)):
            raise ModelError(
                f"the runs began from other models: {first.name} and {other.name}",
                where=str(member.folder),
                fix="make soups of runs of one base model",
            )


def _check_output_layer(members: Sequence[Member], base: LocatedModel) -> None:
    """The output layer is part of what all must begin with. Its values follow from the seed, where the base model does
    not bring them."""
    other = next((member for member in members if member.head_seed != members[0].head_seed), None)
    if other is None:
        return
    net = load_net(base, schema_from(members[0].meta["schema"]), kept=members[0].meta["kept"])
    drawn = [tensor.name for tensor in net.map.tensors if not tensor.pretrained]
    if drawn:
        raise ModelError(
            f"the runs began with other output layers: {drawn[0]} was drawn by seed {members[0].head_seed} in "
            f"{members[0].folder}, by {other.head_seed} here; layers that began apart have no useful mean",
            where=str(other.folder),
            fix="train all with the same train.head_seed, or go on from one run that has trained the output layer "
            "(`model:` takes its folder)",
        )
