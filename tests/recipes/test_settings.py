"""What the settings of every experiment refuse: zeros, empty lists, and lists that repeat."""

import dataclasses

import pytest

from pullback.recipes import load, papers

EXPERIMENTS = [
    each
    for name, paper in papers().items()
    for each in (name, *(f"{name}/{d}" for d in paper.data))
]
# Those to which 0 says something: all of them, adaptive steps, no noise, no weight.
MAY_BE_ZERO = {
    "cold_terms", "crop", "delta", "depth", "entropy_weight", "examples", "kappa", "lengths",
    "noise", "solver_steps", "stays", "table_rows", "terms", "unrolls", "warm_terms",
    "weight_decay",
}  # fmt: skip


def _refused(value):
    """Zero, and of a list none and one that begins with it; a name is checked by what it names."""
    if not isinstance(value, tuple):
        return [type(value)(0)]
    return [(), *[(type(one)(0), *value[1:]) for one in value[:1] if not isinstance(one, str)]]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_number_of_zero_and_an_empty_list_are_refused(name):
    config = load(name).presets["smoke"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, (bool, str)) or field.name in MAY_BE_ZERO:
            continue
        for each in _refused(value):
            # A pair has no empty one where annotations are checked while the code runs.
            with pytest.raises((ValueError, TypeError)) as found:
                dataclasses.replace(config, **{field.name: each})
            told = str(found.value).startswith(f"{field.name} ")
            assert told or type(found.value).__name__ == "TypeCheckError"


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gumbel-softmax", {"latents": (20, 1)}),
        ("neural-ode/spirals", {"seen": (50, 50)}),
        ("sde-bnn", {"sigmas": (0.3, 0.3)}),
        ("relax", {"ways": ("rebar", "relax", "gumbel", "relax")}),
        ("gumbel-softmax", {"ways": ("score", "gumbel", "gumbel")}),
        ("relax", {"target": 1.0}),
        ("residual-flow", {"ratio": 1.0}),
    ],
)
def test_lists_that_repeat_and_numbers_out_of_range_are_refused(name, settings):
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must"):
        dataclasses.replace(load(name).presets["smoke"], **settings)
