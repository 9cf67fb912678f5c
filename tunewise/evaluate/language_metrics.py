"""The rows of the table of metrics that are about language models."""

from __future__ import annotations

from tunewise.evaluate import language, texts
from tunewise.evaluate.metric import SOKOLOVA, Metric
from tunewise.types import Task

TEXTS: tuple[Task, ...] = ("generation",)
PAIRS: tuple[Task, ...] = ("preference",)
JUDGED: tuple[Task, ...] = ("unpaired_preference",)
PROMPTS: tuple[Task, ...] = ("prompts",)

JELINEK = "Jelinek et al. (1977), Perplexity, a measure of the difficulty of speech recognition tasks"
PAPINENI = "Papineni et al. (2002), BLEU; Post (2018), A call for clarity in reporting BLEU scores (sacreBLEU)"
LIN = "Lin (2004), ROUGE: A package for automatic evaluation of summaries"
DISTINCT = "Li et al. (2016), A diversity-promoting objective function for neural conversation models"
STIENNON = "Stiennon et al. (2020), Learning to summarize from human feedback"
KTO = "Ethayarajh et al. (2024), KTO: Model alignment as prospect theoretic optimization"

_ROUGE = {"1": "words", "2": "pairs of words", "L": "the longest common run of words, with gaps"}

OF_TEXTS: tuple[Metric, ...] = (
    Metric("bleu", TEXTS, True, "BLEU of what was written, 0 to 100 (sacreBLEU)", PAPINENI, texts.bleu("13a"), "texts"),
    Metric(
        "chrf",
        TEXTS,
        True,
        "F score of runs of up to 6 letters, 0 to 100 (sacreBLEU's chrF2)",
        "Popović (2015), chrF: character n-gram F-score for automatic MT evaluation",
        texts.chrf,
        "texts",
    ),
    *(
        Metric(f"rouge{kind}", TEXTS, True, f"F1 of {words}, mean over texts", LIN, texts.rouge(kind), "texts")
        for kind, words in _ROUGE.items()
    ),
    Metric(
        "exact_match",
        TEXTS,
        True,
        "share of texts that are the reference, but for capitals and white space",
        "Rajpurkar et al. (2016), SQuAD",
        texts.exact_match,
        "texts",
    ),
    *(
        Metric(
            f"distinct_{length}",
            TEXTS,
            True,
            f"share of {words} written that are different ones, over all texts",
            DISTINCT,
            texts.distinct(length),
            "texts",
        )
        for length, words in ((1, "words"), (2, "pairs of words"))
    ),
    Metric(
        "words_written",
        TEXTS,
        False,
        "words of a text, mean; in itself neither more nor fewer are better",
        DISTINCT,
        texts.words_written,
        "texts",
        neutral=True,
    ),
)

LANGUAGE_METRICS: tuple[Metric, ...] = (
    Metric(
        "perplexity",
        TEXTS,
        False,
        "e to the mean of -ln p over the tokens to learn, of this model's own tokeniser",
        JELINEK,
        language.perplexity,
        "scores",
    ),
    Metric(
        "next_token_accuracy",
        TEXTS,
        True,
        "share of the tokens to learn that the model holds for the likeliest",
        SOKOLOVA,
        language.next_token_accuracy,
        "scores",
    ),
    *OF_TEXTS,
    Metric(
        "preference_accuracy",
        PAIRS,
        True,
        "share of pairs whose chosen answer is worth more to the model; half of those worth the same",
        STIENNON,
        language.preference_accuracy,
        "scores",
    ),
    Metric(
        "reward_margin",
        PAIRS,
        True,
        "by how much the chosen answer is worth more, mean",
        STIENNON,
        language.reward_margin,
        "scores",
    ),
    Metric(
        "reward_auc",
        JUDGED,
        True,
        "chance that a good answer is worth more to the model than a bad one",
        KTO,
        language.reward_auc,
        "scores",
    ),
    Metric("loss", (*PAIRS, *JUDGED), False, "what training minimises, mean", STIENNON, language.mean_loss, "scores"),
    Metric("reward", PROMPTS, True, "reward of what was written, mean", STIENNON, language.mean_reward, "scores"),
    Metric(
        "kl",
        PROMPTS,
        False,
        "-ln p of what was written under the reference, less that under the model, per text",
        STIENNON,
        language.mean_kl,
        "scores",
        neutral=True,
    ),
    Metric(
        "kl_per_token", PROMPTS, False, "the same per token", STIENNON, language.kl_per_token, "scores", neutral=True
    ),
    Metric(
        "tokens_written",
        PROMPTS,
        False,
        "tokens of what was written, mean; in itself neither more nor fewer are better",
        STIENNON,
        language.mean_tokens,
        "scores",
        neutral=True,
    ),
)
