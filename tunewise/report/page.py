"""What every page is made with: templates that escape all they are given, and a policy that lets nothing in or out."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tunewise.report.figures import plain

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


@cache
def make_environment() -> Environment:
    """The templates of this room; what is placed in them is escaped, and what is missing is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("tunewise.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment


def source_of(environment: Environment, name: str) -> Markup:
    """A file of the templates as it is: our own styles and scripts."""
    from markupsafe import Markup

    return Markup(environment.loader.get_source(environment, name)[0])
