"""Words in the place of others, from a masked language model: as transformers' own pipeline predicts them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_resume import interrupted, told
from torch.utils.flop_counter import FlopCounterMode
from training_bench import Recorder, Setup
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, pipeline

from tunewise.conformance.toy_data import FILLER, TELLING
from tunewise.data.augment_settings import AugmentConfig
from tunewise.data.tokenise import tokenise
from tunewise.engine.augmented import augmented_rows
from tunewise.engine.events import Prepared
from tunewise.engine.kept import Spent
from tunewise.engine.synonyms import Synonyms
from tunewise.errors import ModelError
from tunewise.models.locate import locate
from tunewise.models.masked_words import MaskedWords, load_masked_words
from tunewise.models.memory import PassSize

TEXT = "the parcel is late (today), please pay 24"


@pytest.fixture(scope="module")
def masked_lm(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`masked_lm(family)`: the folder of a random model with the layers that predict masked words."""

    def make(family: str = "bert") -> Path:
        folder = tmp_path_factory.mktemp(f"masked-{family}")
        torch.manual_seed(1)
        model = AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tiny_model(family, 2)))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_model(family, 2)).save_pretrained(folder)
        return folder

    return make


def found_by(folder: Path, texts: list[tuple[str, ...]], rows: list[int] | None = None, **options: Any) -> Synonyms:
    synonyms = Synonyms(load_masked_words(locate(str(folder), folder), torch.device("cpu")))
    rows = list(range(len(texts))) if rows is None else rows
    config = AugmentConfig(**{"synonyms": 0.01, **options})
    how = {"by_word": False, "seed": 0, "size": PassSize(), "stop": lambda: None, "tell": lambda done, total: None}
    synonyms.find(texts, np.array(rows), config, **how)
    return synonyms


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_candidates_are_those_of_the_pipeline(family: str, masked_lm: Callable[[str], Path]) -> None:
    """With one word masked at a time, as the pipeline does."""
    folder = masked_lm(family)
    synonyms, tokenizer = found_by(folder, [(TEXT,)], synonym_top_k=4), AutoTokenizer.from_pretrained(folder)
    fill = pipeline("fill-mask", model=str(folder), tokenizer=tokenizer, device=-1)
    words, seen = TEXT.split(), 0
    for place, bare in enumerate(["the", "parcel", "is", "late", "today", "please", "pay"]):
        masked = [*words[:place], words[place].replace(bare, tokenizer.mask_token), *words[place + 1 :]]
        said = fill(" ".join(masked), top_k=AutoConfig.from_pretrained(folder).vocab_size)
        wanted = [one for one in said if one["token_str"].isalpha() and one["token_str"] != bare][:4]
        at = synonyms._starts[0, 0] + place
        assert synonyms._ids[at].tolist() == [one["token"] for one in wanted]
        shares = np.array([one["score"] for one in wanted])
        np.testing.assert_allclose(synonyms._chances[at], shares / shares.sum(), rtol=1e-4)
        seen += 1
    assert synonyms.words == seen == 7 and (synonyms._ids[7] == -1).all()  # 24 is no word


def test_words_are_drawn_by_their_probability(masked_lm: Callable[[str], Path]) -> None:
    synonyms, words = found_by(masked_lm("bert"), [(TEXT,)], synonym_top_k=3), TEXT.split()
    generator, chosen = np.random.default_rng(0), np.array([True] * len(words))
    drawn = [synonyms.replaced(0, 0, words, chosen, generator) for _ in range(3000)]
    names = [synonyms.masked_words.word(int(token)) for token in synonyms._ids[1]]
    counts = [np.mean([row[1] == name for row in drawn]) for name in names]
    np.testing.assert_allclose(counts, synonyms._chances[1], atol=0.04)
    assert all(row[1] != "parcel" and row[7] == "24" for row in drawn)
    assert all(row[4].startswith("(") and row[4].endswith("),") and row[4] != "(today)," for row in drawn)
    none = np.zeros(len(words), dtype=bool)
    assert synonyms.replaced(0, 0, words, none, generator) == words


def test_every_word_has_its_turn_whatever_the_share(masked_lm: Callable[[str], Path]) -> None:
    texts = [(" ".join(FILLER), "please help"), ("", "ok 12"), ("late [MASK] parcel", "the late parcel")]
    synonyms = found_by(masked_lm("bert"), texts, synonyms=0.5)
    assert synonyms.words == len(FILLER) + 2 + 1 + 3  # a text that holds a mask itself is left alone
    again = found_by(masked_lm("bert"), texts, synonyms=0.5)
    assert np.array_equal(synonyms._ids, again._ids) and np.array_equal(synonyms._chances, again._chances)
    some = found_by(masked_lm("bert"), texts, [0], synonyms=0.5)
    chosen = np.array([True, True, True])
    assert some.replaced(2, 1, ["the", "late", "parcel"], chosen, np.random.default_rng(0)) == ["the", "late", "parcel"]


def test_random_numbers_are_left_as_they_were(masked_lm: Callable[[str], Path]) -> None:
    folder = masked_lm("bert")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    found_by(folder, [(TEXT,)])
    assert torch.equal(torch.rand(3), wanted)


def test_flops_are_those_that_torch_counts(masked_lm: Callable[[str], Path]) -> None:
    """Of linear layers, padding included."""
    folder = masked_lm("bert")
    words = load_masked_words(locate(str(folder), folder), torch.device("cpu"))
    batch = tokenise([("the parcel is late",), ("please [MASK]",)], words.tokenizer, words.limit).batch(np.arange(2))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        words.model(**batch)
    products = counter.get_flop_counts()["Global"]
    linear = sum(count for kind, count in products.items() if str(kind) in ("aten.addmm", "aten.mm"))
    assert words.token_flops * batch["input_ids"].numel() == linear > 0


def test_an_estimate_finds_few_and_calculates_the_rest(
    training: Callable[..., Setup], masked_lm: Callable[[str], Path]
) -> None:
    setup = training()
    split, schema = setup.job.data.splits["train"], setup.job.data.schema
    config = AugmentConfig(synonyms=0.5, synonym_model=str(masked_lm("bert")))
    how = {"stop": lambda: None, "warn": lambda message: None, "tell": lambda what, done, total: None}
    whole, some = (augmented_rows(setup.net, split, schema, config, 0, most_rows=most, **how) for most in (None, 12))
    assert whole.synonyms.words > 3 * some.synonyms.words > 0
    assert some.spent.flops == pytest.approx(whole.spent.flops, rel=0.2)
    assert whole.not_spent == 0 < some.not_spent < some.spent.seconds
    assert whole.begin() == whole.spent and whole.begin() == Spent()


class Vocabulary:
    """What `MaskedWords` asks of a tokeniser whose words begin with a mark."""

    all_special_ids = (0,)
    mask_token, mask_token_id = "<mask>", 0
    tokens = ("<mask>", "Ġcard", "ard", "Ġ24", "Ġpay", "Ġ(", "ĠPay")

    def __len__(self) -> int:
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        return [self.tokens[at] for at in ids] if isinstance(ids, list) else self.tokens[ids]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens).replace("Ġ", " ")


def test_parts_of_words_are_no_words() -> None:
    words = MaskedWords(torch.nn.Module(), Vocabulary(), 8)
    assert [words.word(token) for token in range(7)] == [None, "card", None, None, "pay", None, "Pay"]
    ids, chances = words.candidates("'pay'?", np.arange(7), np.full(7, 0.1), 5)
    assert ids.tolist() == [1] and chances.tolist() == [1.0]  # neither pay nor Pay
    assert words.in_place_of("'Debit'?", 1) == "'Card'?" and words.in_place_of("DEBIT", 1) == "card"


@pytest.mark.parametrize(
    ("family", "told_of"),
    [("bert", "no layers that predict masked words: its files lack"), ("gpt2", "cannot predict masked words")],
)
def test_models_without_these_layers_are_refused(
    family: str, told_of: str, tiny_model: Callable[..., Path], training: Callable[..., Setup]
) -> None:
    setup = training(family=family, augment={"synonyms": 0.2})
    with pytest.raises(ModelError, match=told_of) as problem:
        setup.train()
    assert "synonym_model" in problem.value.fix and str(tiny_model(family, 2)) in problem.value.where


def test_a_tokeniser_without_a_mask_is_refused(masked_lm: Callable[[str], Path], tmp_path: Path) -> None:
    folder = masked_lm("bert")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="no mask"):
        load_masked_words(locate(str(folder), tmp_path), torch.device("cpu"))


def test_a_training_with_synonyms_goes_on_exactly(
    training: Callable[..., Setup], masked_lm: Callable[[str], Path]
) -> None:
    augment = {"synonyms": 0.3, "word_dropout": 0.1, "synonym_model": str(masked_lm("roberta"))}
    settings = {"epochs": 2, "dropout": 0.2, "save_steps": 3, "augment": augment}
    recorder = Recorder()
    recorder.on_prepared = recorder._keep
    whole = training(at="a", observers=[recorder], **settings)
    trained = whole.train()
    resumed, again = interrupted(lambda **more: training(**{**settings, **more}), [4])
    assert (resumed.digest, resumed.log(), told(again)) == (whole.digest, whole.log(), told(trained))
    assert recorder.of(Prepared)[-1] == Prepared("synonyms of rows", 48, 48, 0)
    assert whole.job.observers.warnings[-1].endswith("words have candidates")
    plain = training(at="c", **{**settings, "augment": {"word_dropout": 0.1}})
    assert plain.train().forward_flops < trained.forward_flops  # finding them counts
    assert plain.digest != whole.digest


def test_only_words_outside_of_entities_are_replaced(
    training: Callable[..., Setup], tagged_data: Callable[..., Any], masked_lm: Callable[[str], Path], monkeypatch: Any
) -> None:
    from tunewise.engine.augmented import AugmentedRows

    seen, real = [], AugmentedRows._row

    def row_of(self: AugmentedRows, row: int, epoch: int) -> Any:
        found = real(self, row, epoch)
        seen.append((self.split.texts[row][0], found[0][0], found[1]))
        return found

    monkeypatch.setattr(AugmentedRows, "_row", row_of)
    augment = {"synonyms": 0.5, "share": 1.0, "synonym_model": str(masked_lm("bert"))}
    training(data=tagged_data(), epochs=1, augment=augment).train()
    telling = {word for words in TELLING.values() for word in words}
    changed = 0
    for before, after, tags in seen:
        for old, new, tag in zip(before.split(" "), after.split(" "), tags, strict=True):
            assert old == new or (tag == "O" and old not in telling)
            changed += old != new
    assert changed > 20


def test_a_model_of_synonyms_is_not_believed(
    masked_lm: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that its config names is not fetched; weights that are no numbers are refused."""
    from safetensors.torch import load_file, save_file
    from transformers.integrations import hub_kernels

    def fetched(*args: Any, **more: Any) -> None:
        raise AssertionError("code was to be fetched")

    monkeypatch.setattr(hub_kernels, "get_kernel", fetched, raising=False)
    folder = masked_lm("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attn_implementation": "someone/attention"}))
    words = load_masked_words(locate(str(folder), tmp_path), torch.device("cpu"))
    assert words.model.config._attn_implementation in ("sdpa", "eager")
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="NaN or infinity"):
        load_masked_words(locate(str(folder), tmp_path), torch.device("cpu"))
