"""Writes the pages that are made from the code: docs/methods.md and docs/recipe.md."""

from __future__ import annotations

from pathlib import Path

from tunewise.config.explain import fields_of, render_reference
from tunewise.methods import METHODS
from tunewise.recipe import Recipe

HERE = Path(__file__).parent


def methods_page() -> str:
    lines = [
        "# Methods",
        "",
        "Made from the code by `make docs`. `tunewise methods` prints the same.",
        "",
        "| method | trains | hands over | source |",
        "|---|---|---|---|",
    ]
    lines += [f"| [`{m.name}`](#{m.name}) | {m.trains} | {m.handover} folder | {m.source} |" for m in METHODS.values()]
    for method in METHODS.values():
        lines += ["", f"## {method.name}", "", " ".join((method.__doc__ or "").split()), ""]
        rate = " ".join((method.default_learning_rate.__doc__ or "").split())
        if method.name != "features":
            lines += [f"Learning rate where none is given: {rate}", ""]
        lines += ["| option | kind | default | meaning |", "|---|---|---|---|"]
        for option in fields_of(method.Config):
            meaning = " ".join(option.explanation.split()).replace("|", "\\|")
            kind = option.type.replace("|", "\\|")
            lines.append(f"| `{option.path}` | {kind} | {option.default or '-'} | {meaning} |")
    return "\n".join(lines) + "\n"


def recipe_page() -> str:
    return "# The recipe\n\nMade from the code by `make docs`.\n\n" + render_reference(Recipe)


PAGES = {"methods.md": methods_page, "recipe.md": recipe_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
