"""The `evaluate` section of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tunewise.config.base import Config
from tunewise.evaluate.drawing_settings import DrawingConfig
from tunewise.evaluate.generation_settings import GenerationConfig


class EvaluateConfig(Config):
    threshold: str | None = None
    """Metric (for instance `f1_macro`) by which the decision threshold is chosen on validation: binary classification
    and multi-label. Where left out: the most probable class, or 0.5 per label."""

    positive: str | None = None
    """Binary classification: the class that `precision`, `recall`, `f1`, `roc_auc` and `average_precision` look for.
    Where left out: the second in order."""

    costs: dict[str, dict[str, float]] | None = None
    """What each mistake costs, as {true class: {predicted class: cost}}; the rest costs 0. Adds the metric `cost`,
    the mean per row (lower is better)."""

    functions: list[str] = Field(default_factory=list)
    """Your own metrics as `file.py:function`, the file in the recipe's folder, called as
    `function(targets, decisions, scores)`; higher is better. Runs only with `--allow-code`."""

    resamples: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap resamples behind every interval."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""

    batch_size: int = Field(default=32, ge=1)
    """Rows of 128 tokens (32 on a CPU), or images of 90 x 90 pixels, per batch in evaluation and prediction: more where
    texts are shorter, fewer where rows are larger, twice as many where a language model writes. Does not change results
    beyond rounding."""

    generation: GenerationConfig | None = GenerationConfig()
    """Language models: how they continue rows of each test set, for metrics of texts (BLEU, chrF, ROUGE, exact match)
    and samples; null for numbers alone."""

    bleu_tokenizer: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    """How sacreBLEU cuts texts into words: 13a for languages that write spaces, char or zh for those that do not."""

    overlap: bool = True
    """With `generation`: how many runs of 8 words of what was written stand in the training texts."""

    stride: int | None = Field(default=None, ge=1)
    """Language models, texts to learn from: test rows that are longer than `train.max_length` are read whole, in
    windows of that length that begin so many tokens after each other (smaller is more exact, and slower). Where left
    out, what is beyond the limit is not scored."""

    forgetting: str | None = None
    """A file of plain text from another domain: how likely the model holds it is measured before and after training,
    by perplexity. Language models without an encoder, and encoders whose pretrained model fills in words."""

    drawing: DrawingConfig | None = DrawingConfig()
    """Image generation: what is drawn before and after training, for FID, KID, Inception score and the report; null for
    none."""

    looked_at: int | None = Field(default=None, ge=0, le=50)
    """Images, classes or labels: of so many images of the first test set, what the model looked at is shown in the
    report (Grad-CAM for convolutional nets, occlusion for others); 0 for none, 6 where left out. It takes a pass for
    each image by Grad-CAM, 50 by occlusion, after evaluation; it is no part of the time and FLOPs of training."""

    def writing(self, longest: int | None) -> EvaluateConfig:
        """The same, with texts of at most so many tokens where the recipe does not say how many."""
        if longest is None or self.generation is None or self.generation.max_new_tokens is not None:
            return self
        return self.model_copy(update={"generation": self.generation.model_copy(update={"max_new_tokens": longest})})
