"""The table of metrics: what there is, for which task, which direction is good, what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunewise.data.tags import entity_types
from tunewise.evaluate import classification as classes
from tunewise.evaluate import entities
from tunewise.evaluate import regression as numbers
from tunewise.evaluate.drawing_metrics import DENOISING_ERROR, DRAWING_METRICS
from tunewise.evaluate.language_metrics import LANGUAGE_METRICS
from tunewise.evaluate.metric import SOKOLOVA, Metric
from tunewise.types import Task

CLASSES: tuple[Task, ...] = ("classification",)
LABELS: tuple[Task, ...] = ("multilabel",)
BOTH: tuple[Task, ...] = ("classification", "multilabel")
NUMBERS: tuple[Task, ...] = ("regression",)
TAGS: tuple[Task, ...] = ("token_classification",)

CONLL = "Tjong Kim Sang and De Meulder (2003), Introduction to the CoNLL-2003 shared task; by seqeval, strict IOB2"


_PARTS: dict[classes.Part, str] = {
    "precision": "share of what was called a class that is one",
    "recall": "share of a class that was found",
    "f1": "harmonic mean of precision and recall",
}
_AVERAGES: dict[classes.Average, str] = {
    "micro": "over all decisions together",
    "macro": "mean over the classes that occur, each counting the same",
    "weighted": "mean over classes, each counting by its true rows",
}

_ENTITY_PARTS: dict[entities.Part, str] = {
    "precision": "share of the entities that were said to be there that are",
    "recall": "share of the entities that were found",
    "f1": "harmonic mean of precision and recall of entities",
}
ENTITY_F1_OF = "entity_f1_"
"""How the metric of one type of entity begins; the type follows."""

_ALL: tuple[Metric, ...] = (
    Metric(
        "accuracy", BOTH, True, "share of rows that are right (multi-label: in every label)", SOKOLOVA, classes.accuracy
    ),
    Metric(
        "balanced_accuracy",
        CLASSES,
        True,
        "mean recall over the classes that occur",
        "Brodersen et al. (2010), The balanced accuracy and its posterior distribution",
        classes.balanced_accuracy,
    ),
    *(
        Metric(f"{part}_{average}", BOTH, True, f"{words}, {how}", SOKOLOVA, classes.averaged(part, average))
        for part, words in _PARTS.items()
        for average, how in _AVERAGES.items()
    ),
    *(
        Metric(part, CLASSES, True, f"{words}, of the positive class", SOKOLOVA, classes.of_positive(part), binary=True)
        for part, words in _PARTS.items()
    ),
    Metric(
        "f1_samples",
        LABELS,
        True,
        "F1 between the true and the given labels of a row, mean over rows",
        SOKOLOVA,
        classes.f1_samples,
    ),
    Metric("hamming_loss", LABELS, False, "share of label decisions that are wrong", SOKOLOVA, classes.hamming_loss),
    Metric(
        "roc_auc",
        BOTH,
        True,
        "chance that a row of a class gets a higher score for it than another row; "
        "mean over classes (one against the rest) or labels where there are several",
        "Hanley & McNeil (1982), The meaning and use of the area under a ROC curve",
        classes.roc_auc,
        "scores",
    ),
    Metric(
        "average_precision",
        BOTH,
        True,
        "precision, averaged over the recall that each score adds; mean over classes or labels where there are several",
        "Davis & Goadrich (2006), The relationship between precision-recall and ROC curves",
        classes.average_precision,
        "scores",
    ),
    Metric(
        "mcc",
        CLASSES,
        True,
        "Matthews' correlation of true and predicted classes: 0 is chance, 1 is perfect",
        "Gorodkin (2004), Comparing two K-category assignments by a K-category correlation coefficient",
        classes.matthews,
    ),
    Metric(
        "log_loss",
        BOTH,
        False,
        "mean of -ln of the probability given to what is true (multi-label: per label)",
        "Good (1952), Rational decisions",
        classes.log_loss,
        "scores",
    ),
    Metric(
        "ece",
        BOTH,
        False,
        "expected calibration error: how far confidence and accuracy part, over 15 bins of the "
        "top probability (multi-label: over all label decisions)",
        "Guo et al. (2017), On calibration of modern neural networks",
        classes.expected_calibration_error,
        "scores",
    ),
    Metric("mse", NUMBERS, False, "mean squared error", "Gauss (1823)", numbers.mean_squared_error),
    Metric("mae", NUMBERS, False, "mean absolute error", "Laplace (1774)", numbers.mean_absolute_error),
    Metric(
        "rmse",
        NUMBERS,
        False,
        "root of the mean squared error, in the unit of the target",
        "Gauss (1823)",
        numbers.root_mean_squared_error,
    ),
    Metric(
        "r2",
        NUMBERS,
        True,
        "share of the target's variance that is explained; 0 is as good as its mean",
        "Wright (1921), Correlation and causation",
        numbers.r2,
    ),
    Metric("pearson", NUMBERS, True, "linear correlation of target and prediction", "Pearson (1895)", numbers.pearson),
    Metric("spearman", NUMBERS, True, "correlation of their ranks", "Spearman (1904)", numbers.spearman),
    *(
        Metric(
            f"entity_{part}", TAGS, True, f"{words}, type and both ends being right", CONLL, entities.of_entities(part)
        )
        for part, words in _ENTITY_PARTS.items()
    ),
    Metric("token_accuracy", TAGS, True, "share of words with the right tag", SOKOLOVA, entities.token_accuracy),
    *LANGUAGE_METRICS,
    *DRAWING_METRICS,
)

_BEST = {"perplexity": 1.0, "bleu": 100.0, "chrf": 100.0, "reward": None, "reward_margin": None}
_WORST = {"r2": None, "mcc": -1.0, "pearson": -1.0, "spearman": -1.0, "reward": None, "reward_margin": None}

METRICS: dict[str, Metric] = {
    metric.name: replace(
        metric,
        best=_BEST.get(metric.name, 1.0 if metric.greater_is_better else 0.0),
        worst=_WORST.get(metric.name, 0.0) if metric.greater_is_better else None,
    )
    for metric in _ALL
}

_DEFAULTS: dict[Task, str] = {
    "classification": "f1_macro",
    "multilabel": "f1_macro",
    "regression": "r2",
    "token_classification": "entity_f1",
    "generation": "perplexity",
    "preference": "preference_accuracy",
    "unpaired_preference": "loss",
    "prompts": "reward",
    "image_generation": DENOISING_ERROR,
}


def default_metric(task: Task) -> str:
    """What to choose by where the recipe does not say: macro F1 for classes and labels, R2 for numbers, F1 of
    entities, perplexity for texts, accuracy for pairs of answers, loss for single ones, reward for prompts,
    the error of what is predicted of noised images."""
    return _DEFAULTS[task]


def metrics_of_types(labels: Sequence[str]) -> dict[str, Metric]:
    """The F1 of each type of entity."""
    return {
        f"{ENTITY_F1_OF}{kind}": Metric(
            name=f"{ENTITY_F1_OF}{kind}",
            tasks=TAGS,
            greater_is_better=True,
            words=f"F1 of entities of the type {kind}",
            source=CONLL,
            compute=entities.of_entities("f1", kind),
            best=1.0,
            worst=0.0,
        )
        for kind in entity_types(labels)
    }
