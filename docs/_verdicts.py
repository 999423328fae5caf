"""What the records say of each paper's headline."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _runs import of_this, read_check

from pullback.recipes import module_of, papers
from pullback.runs import Claim, read_record, sources_digest

# From the best to the worst: a paper has the worst verdict of its headline's claims.
VERDICTS = ("reproduced", "reproduced in kind", "not reproduced", "contradicted")
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Result:
    """A recorded run, what other base seeds say of its claims, and whether its code is today's.

    Args:
        name: Of the file in `results/`.
        record: What `pullback record` kept.
        fresh: What the seeds that played no part in its bounds found, a list of claims each.
        stale: Whether the recipe's sources have changed since.
    """

    name: str
    record: dict[str, Any]
    fresh: list[list[dict[str, Any]]]
    stale: bool

    @property
    def paper(self) -> str:
        return str(self.record["recipe"]).partition("/")[0]

    def again(self, index: int) -> list[dict[str, Any]]:
        """A claim as the fresh seeds found it."""
        return [claims[index] for claims in self.fresh]

    def headlines(self) -> Iterable[tuple[dict[str, Any], str]]:
        """Each claim that is the paper's headline, and the worst verdict of all its seeds."""
        for index, claim in enumerate(self.record["claims"]):
            if claim["headline"] is not None:
                all_seeds = [claim, *self.again(index)]
                yield claim, worst(Claim.from_json(one).verdict or "" for one in all_seeds)


def results_in(folder: Path) -> list[Result]:
    """The recorded results, in the order of the papers and then of the names."""
    order = {name: place for place, name in enumerate(papers())}
    found = [_result(path) for path in folder.glob("*.json")]
    return sorted(found, key=lambda r: (order.get(r.paper, len(order)), r.name))


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts, or that nothing was measured."""
    return max(verdicts, key=VERDICTS.index, default=NOT_MEASURED)


def share(claim: Mapping[str, Any]) -> float | None:
    """The measured effect over the paper's own, where the paper gives its figure."""
    headline = claim["headline"]
    if headline["paper"] is None:
        return None
    effect = float(claim["value"]) - headline["no_effect"]
    return effect / (headline["paper"] - headline["no_effect"])


def digest_now(recipe: str) -> str | None:
    """The digest of a recipe's sources as they are, or None where there is no such recipe."""
    try:
        return sources_digest(module_of(recipe))
    except ValueError:
        return None


def _result(path: Path) -> Result:
    record = read_record(path)
    checked = path.parent / "checks" / path.name
    fresh = []
    if checked.exists():
        check = read_check(checked)
        if of_this(check, record, record["sources"]):
            fresh = [one["claims"] for one in check["fresh"].values()]
    return Result(path.stem, record, fresh, record["sources"] != digest_now(record["recipe"]))
