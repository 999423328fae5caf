"""The edge between networks in which signals come together and those in which they part."""

from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from . import _fixed_points as fixed
from ._mean_field import MeanField, Numbers, broadcast_over, checked_bias_scale
from ._reach import check_reach


def critical_weight_scale(theory: MeanField, bias_scale: Numbers = 0.0) -> Float[Array, "*scales"]:
    r"""The weight scale at which neither signals nor gradients die or explode with depth.

    $$ \chi_1(\sigma_w, \sigma_b) = 1 \quad\text{at}\quad q^* = V(q^*) $$

    A network much deeper than the depth scales on either side of it does not train; at this scale
    all of them are infinite. It is $\sigma_w$, the standard deviation of a weight times the root of
    the fan in: give it to `pullback.nn.gaussian_init`.

    On the critical line both scales follow from the variance, $\sigma_w^{-2} = E\,\phi'(\sqrt q
    Z)^2$ and $\sigma_b^2 = q - \sigma_w^2 E\,\phi(\sqrt q Z)^2$; so the variance is found whose
    bias scale is the given one, the smallest of several. Where none is, as for a ReLU with biases,
    it is the scale at which the variance stops to be finite. Of an activation that bends upwards
    at 0, as GELU and SiLU do, the variance of the critical line is one that layers move away from:
    see what `signal_report` says of a network of your depth.

    Args:
        theory: of the activation.
        bias_scale: $\sigma_b$, 0 or more.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> print(critical_weight_scale(MeanField(jnp.tanh), jnp.array([0.0, 0.05, 0.3])))
        [1. 1.122... 1.395...]
        >>> print(f"{critical_weight_scale(MeanField(jax.nn.relu)):.4f}")
        1.4142

    Source: Poole et al., arXiv 1606.05340, section 2; the point sigma_w^2 = 1.76 of tanh at
        sigma_b^2 = 0.05: Schoenholz et al., Deep Information Propagation, arXiv 1611.01232.
    """
    _check_theory(theory)
    q, scale = broadcast_over(fixed.critical_weight_scale, theory, checked_bias_scale(bias_scale))
    check_reach(theory, q, "slope")
    return scale


def phase(
    theory: MeanField,
    weight_scale: Numbers,
    bias_scale: Numbers = 0.0,
    *,
    tolerance: float = 1e-3,
) -> Any:
    r"""The phase of a network: "ordered", "critical" or "chaotic".

    $\chi_1$ is below 1, within `tolerance` of 1, or above.

    Args:
        theory: of the activation.
        weight_scale: $\sigma_w$, above 0.
        bias_scale: $\sigma_b$, 0 or more.
        tolerance: how far from 1 is critical still.

    Returns:
        A word; of arrays of scales, an array of NumPy's.

    Raises:
        TypeError: it is being compiled, and a word is no array: use `chi`.

    Example:
        >>> import jax.numpy as jnp
        >>> print(phase(MeanField(jnp.tanh), [1.0, 1.3956, 2.5], 0.3))
        ['ordered' 'critical' 'chaotic']

    Source: Poole et al., arXiv 1606.05340, section 2.
    """
    _check_theory(theory)
    chi = theory.chi(weight_scale, bias_scale)
    if isinstance(chi, Tracer):
        raise TypeError("`phase` gives words, which no compiled program can: compare `chi` with 1.")
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` must be 0 or more, got {tolerance}.")
    off = np.asarray(jax.device_get(chi)) - 1
    words = np.where(np.abs(off) <= tolerance, "critical", np.where(off < 0, "ordered", "chaotic"))
    return str(words) if words.ndim == 0 else words


def _check_theory(theory: Any) -> None:
    if not isinstance(theory, MeanField):
        raise TypeError(
            f"`theory` must be a `MeanField`, such as MeanField(jnp.tanh); got {theory!r}."
        )
