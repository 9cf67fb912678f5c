"""Texts that a model writes, held against transformers' own `generate`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from tunewise.engine import generation
from tunewise.engine.generation import end_tokens, generate, text_of
from tunewise.engine.sampling import Chooser, filtered, penalised
from tunewise.errors import Interrupted, ModelError
from tunewise.evaluate.generation_settings import GenerationConfig
from tunewise.models.continuation import Continuation, cache_serves

FAMILIES = ("llama", "gpt2", "t5")
PROMPTS = [[7, 9, 12, 30, 8], [11, 7], [20, 21, 22, 23, 24, 25, 26, 9], [13], [17, 8, 9, 10], [31, 32, 33]]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """`language_model(family)`: a random model that gives the next token, and its tokeniser."""
    made = {}

    def make(family):
        if family not in made:
            from tunewise.conformance.models import BLOCKS, SPECIAL_OF, TEXT, make_tokenizer

            torch.manual_seed(1)
            kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
            model = kind.from_config(TEXT[family](2 if family == "t5" else BLOCKS)).eval()
            tokenizer = make_tokenizer(SPECIAL_OF[family])
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            made[family] = model, tokenizer
        return made[family]

    return make


def reference(model, tokenizer, prompt, ends, **options):
    """New tokens of one prompt, alone, by transformers."""
    with torch.no_grad():
        ids = model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=list(ends),
            do_sample=False,
            **options,
        )[0].tolist()
    new = ids[1:] if model.config.is_encoder_decoder else ids[len(prompt) :]
    for place, token in enumerate(new):
        if token in ends:
            return new[: place + 1]
    return new


def some_ends(model, tokenizer):
    """Tokens that end rows at different times: those that greedy decoding writes third for some rows."""
    found = [reference(model, tokenizer, prompt, (199,), max_new_tokens=12)[2] for prompt in PROMPTS[:2]]
    return (*found, 199)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_greedy_texts_are_those_of_transformers(family, penalty, language_model):
    model, tokenizer = language_model(family)
    ends = some_ends(model, tokenizer)
    config = GenerationConfig(max_new_tokens=12, repetition_penalty=penalty)
    found = generate(model, tokenizer, PROMPTS, config, ends=ends)
    wanted = [
        reference(model, tokenizer, prompt, ends, max_new_tokens=12, repetition_penalty=penalty) for prompt in PROMPTS
    ]
    assert found == wanted
    if penalty == 1.0:
        assert len({len(ids) for ids in found}) > 1  # some rows ended before others, and were dropped


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_are_those_of_transformers(family, language_model):
    model, tokenizer = language_model(family)
    ends = some_ends(model, tokenizer)
    config = GenerationConfig(max_new_tokens=10, beams=3)
    found = generate(model, tokenizer, PROMPTS, config, ends=ends)
    wanted = [reference(model, tokenizer, prompt, ends, max_new_tokens=10, num_beams=3) for prompt in PROMPTS]
    assert found == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_without_a_cache_are_the_same(family, language_model, monkeypatch):
    model, tokenizer = language_model(family)
    config = GenerationConfig(max_new_tokens=8)
    assert cache_serves(model, PROMPTS[0], tokenizer.pad_token_id)
    with_cache = generate(model, tokenizer, PROMPTS, config)
    monkeypatch.setattr(generation, "cache_serves", lambda *_: False)
    assert generate(model, tokenizer, PROMPTS, config) == with_cache


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_row_draws_does_not_depend_on_the_rows_beside_it(family, language_model):
    model, tokenizer = language_model(family)
    config = GenerationConfig(max_new_tokens=8, temperature=0.9, top_k=50, top_p=0.95)
    together = generate(model, tokenizer, PROMPTS, config, seed=3)
    alone = [generate(model, tokenizer, [ids], config, seed=3, rows=[row])[0] for row, ids in enumerate(PROMPTS)]
    assert together == alone
    assert generate(model, tokenizer, PROMPTS, config, seed=4) != together


def test_a_cache_that_changes_what_the_model_says_is_not_used(language_model):
    """A block that mixes each place with the one before it gives other logits where only the last token is read."""
    from copy import deepcopy

    model, tokenizer = language_model("llama")
    model = deepcopy(model)

    def mix(_, args, output):
        hidden_BTD = output[0] if isinstance(output, tuple) else output
        mixed_BTD = hidden_BTD + torch.roll(hidden_BTD, 1, 1).index_fill(1, torch.tensor([0]), 0.0)
        return (mixed_BTD, *output[1:]) if isinstance(output, tuple) else mixed_BTD

    model.model.layers[1].register_forward_hook(mix)
    assert not cache_serves(model, PROMPTS[0], tokenizer.pad_token_id)
    (found,) = generate(model, tokenizer, PROMPTS[:1], GenerationConfig(max_new_tokens=5))
    ids = list(PROMPTS[0])
    for token in found:  # reading everything again by hand
        with torch.no_grad():
            assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token
        ids.append(token)


def test_each_row_reads_its_own_logits_after_others_were_dropped(language_model):
    model, tokenizer = language_model("llama")
    with torch.no_grad():
        going = Continuation(model, PROMPTS[:4], tokenizer.pad_token_id, cached=True)
        going.start()
        going.go_on([40, 41], [1, 3])
        found_V = going.go_on([42], [1])[0]
        wanted_V = model(torch.tensor([[*PROMPTS[3], 41, 42]])).logits[0, -1]
    torch.testing.assert_close(found_V, wanted_V, atol=1e-5, rtol=1e-5)


def test_filters_are_those_of_transformers():
    from transformers import RepetitionPenaltyLogitsProcessor, TopKLogitsWarper, TopPLogitsWarper

    scores_BV = torch.randn(5, 60, generator=torch.Generator().manual_seed(0)) * 3
    read_BT = torch.randint(60, (5, 9), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(filtered(scores_BV, 7, None), TopKLogitsWarper(7)(read_BT, scores_BV))
    for p in (0.1, 0.5, 0.9, 0.99):
        torch.testing.assert_close(filtered(scores_BV, None, p), TopPLogitsWarper(p)(read_BT, scores_BV))
    wanted = RepetitionPenaltyLogitsProcessor(1.3)(read_BT, scores_BV.clone())
    torch.testing.assert_close(penalised(scores_BV, read_BT.tolist(), 1.3), wanted)


def test_tokens_are_drawn_as_often_as_they_are_probable():
    logits_V = torch.tensor([2.0, 1.0, 0.0, -1.0, -torch.inf])
    draws = 4000
    choose = Chooser(GenerationConfig(temperature=2.0), seed=5)
    tokens = choose(logits_V.expand(draws, -1), [[]] * draws, range(draws), written=0)
    shares = np.bincount(tokens, minlength=5) / draws
    wanted = (logits_V / 2).softmax(-1).numpy()
    assert shares[4] == 0
    assert np.abs(shares - wanted).max() < 4 * np.sqrt(0.25 / draws)


def test_a_text_ends_at_a_stop_string(language_model):
    model, tokenizer = language_model("llama")
    whole = generate(model, tokenizer, PROMPTS[:1], GenerationConfig(max_new_tokens=10))[0]
    words = [tokenizer.decode([token]) for token in whole]  # a random model also writes ids without a word
    first, word = next((place, word) for place, word in enumerate(words) if word)
    config = GenerationConfig(max_new_tokens=10, stop=[word])
    found = generate(model, tokenizer, PROMPTS[:1], config)[0]
    assert found == whole[: first + 1] and len(found) < len(whole)
    assert word not in text_of(tokenizer, found, config)
    assert text_of(tokenizer, whole, GenerationConfig()).startswith(text_of(tokenizer, found, config))


def test_tokens_are_told_as_they_come(language_model):
    model, tokenizer = language_model("gpt2")
    told = {place: [] for place in range(len(PROMPTS))}
    config = GenerationConfig(max_new_tokens=6)
    found = generate(model, tokenizer, PROMPTS, config, tell=lambda place, token: told[place].append(token))
    assert [told[place] for place in range(len(PROMPTS))] == found


def test_texts_end_where_positions_do(language_model):
    model, tokenizer = language_model("gpt2")  # 64 positions
    prompts = [[8] * 60, [9] * 3]
    found = generate(model, tokenizer, prompts, GenerationConfig(max_new_tokens=80), ends=())
    assert [len(ids) for ids in found] == [4, 61]
    with pytest.raises(ModelError, match="64 positions"):
        generate(model, tokenizer, [[8] * 64], GenerationConfig(max_new_tokens=1))
    with pytest.raises(ModelError, match="without tokens"):
        generate(model, tokenizer, [[]], GenerationConfig())


def test_it_can_be_stopped_and_leaves_the_mode_as_it_was(language_model):
    model, tokenizer = language_model("llama")
    left = iter(range(3))

    def stop():
        if next(left, None) is None:
            raise Interrupted("enough")

    model.train()
    with pytest.raises(Interrupted):
        generate(model, tokenizer, PROMPTS, GenerationConfig(max_new_tokens=50), ends=(), stop=stop)
    assert model.training
    model.eval()


def test_texts_end_with_what_the_model_names_too(language_model):
    model, tokenizer = language_model("llama")
    before = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [1, 77]
    assert end_tokens(model, tokenizer) == (tokenizer.eos_token_id, 77)
    model.generation_config.eos_token_id = before


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_peft_writes_as_the_merged_model_does(family, language_model):
    from copy import deepcopy

    import peft

    model, tokenizer = language_model(family)
    targets = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "t5": ["q", "v"]}[family]
    adapted = peft.get_peft_model(
        deepcopy(model),
        peft.LoraConfig(target_modules=targets, init_lora_weights=False, fan_in_fan_out=family == "gpt2"),
    )
    config = GenerationConfig(max_new_tokens=6)
    found = generate(adapted, tokenizer, PROMPTS, config)
    assert found != generate(model, tokenizer, PROMPTS, config)
    assert found == generate(adapted.merge_and_unload(), tokenizer, PROMPTS, config)


def test_a_prefix_and_virtual_tokens_are_read_while_writing(language_model):
    """Reading all again by hand, with the inserts of prefix tuning and prompt tuning."""
    from copy import deepcopy

    from tunewise.methods.prefix_tuning import with_prefix
    from tunewise.methods.prompt_tuning import with_prompt_table

    model, tokenizer = language_model("llama")
    model = deepcopy(model)
    torch.manual_seed(0)
    with_prefix(model.model, tokenizer, tokens=3, init="vocabulary", hidden=None)
    virtual = (200, 201)
    model.model.embed_tokens = with_prompt_table(model.model.embed_tokens, tokenizer, 2, "random", None)
    assert cache_serves(model, [*virtual, *PROMPTS[0]], tokenizer.pad_token_id)
    found = generate(model, tokenizer, PROMPTS[:3], GenerationConfig(max_new_tokens=5), virtual=virtual, ends=())
    for prompt, new in zip(PROMPTS, found, strict=False):
        ids = [*virtual, *prompt]
        for token in new:
            with torch.no_grad():
                assert int(model(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 5}, "temperature"),
        ({"temperature": 1.0, "beams": 2}, "beam search draws nothing"),
        ({"stop": [""]}, "empty string"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        GenerationConfig(**options)
