"""The flags of how a table is read, where it does not say so itself."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

_Header = Annotated[
    Literal["yes", "no"] | None, tyro.conf.arg(metavar="yes|no", help_behavior_hint="")
]
Decimal = Annotated[Literal[".", ","] | None, tyro.conf.arg(metavar="SIGN", help_behavior_hint="")]
NaLabels = Annotated[
    Literal["class", "hole"] | None, tyro.conf.arg(metavar="class|hole", help_behavior_hint="")
]


@dataclass(frozen=True)
class Reading:
    """How a table is read."""

    header: _Header = None
    """Whether the first line has the names of the columns (default: found from the file)."""
    decimal: Decimal = None
    """The decimal sign, a point or a comma (default: found from the file)."""

    def given(self) -> dict[str, Any]:
        """The arguments that readers take."""
        header = None if self.header is None else self.header == "yes"
        return {"header": header, "decimal": self.decimal}


@dataclass(frozen=True)
class LabelReading(Reading):
    """How a table is read that has a column of classes."""

    na_labels: NaLabels = None
    """How to read a text label such as NA, nan, null, none or ?: as a class of that name, or as a
    hole, which is a row without a class (default: refuse it)."""

    def given(self) -> dict[str, Any]:
        """The arguments that `read_mixed` takes."""
        return super().given() | {"na_labels": self.na_labels}


Read = Annotated[Reading, tyro.conf.arg(name="")]
ReadLabels = Annotated[LabelReading, tyro.conf.arg(name="")]
AS_IT_LOOKS = Reading()
LABELS_AS_THEY_LOOK = LabelReading()
