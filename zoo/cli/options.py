"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["Json", "RegistryFile"]

RegistryFile = Annotated[
    Path | None,
    Parameter(
        name="--registry", help="A registry file of your own, which overrides ours and ZOO_REGISTRY's."
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print JSON.")]
