"""What an explanation of an image says."""

import equinox as eqx
from jaxtyping import Array, Float, Int


class Saliency(eqx.Module):
    """Which pixels decide what a classifier says of an image, and how much is left without them.

    Of several images all arrays have an axis of images in front, and of several `size_weight` one
    of those, after it. Look at `only` and `without`, which are of whole pixels under fresh infills:
    a map that looks good can come from masks between 0 and 1 that no image has.

    Attributes:
        map: from 0 to 1, high where a pixel matters: the probability to keep it (SSR), to remove it
            (SDR), or the root of the product of both (joint).
        keep_probability: of each pixel; of SSR and then of SDR, `[2, H, W]`, if joint.
        target: the class that is explained.
        log_odds: of the class, for the whole image.
        only: log-odds where only the marked pixels are kept, `map > 1/2`, the mean over infills.
        only_error: the standard error of that mean; 0 for an infill that is always the same, and
            NaN of a single draw, which tells nothing of it.
        without: log-odds where the marked pixels alone are removed.
        without_error: its standard error.
        area: the share of pixels that are marked.
        objective: what was made small, at each step: of the relaxed masks, and noisy.
        evaluations: how many images the classifier was given for one image, of all `size_weight`
            together: itself, and of a black box twice more to see whether its answers are steady;
            the masks of the search; and the regions that were found.
    """

    map: Float[Array, "*many H W"]
    keep_probability: Float[Array, "*many_or_two H W"]
    target: Int[Array, "*many"]
    log_odds: Float[Array, "*many"]
    only: Float[Array, "*many"]
    only_error: Float[Array, "*many"]
    without: Float[Array, "*many"]
    without_error: Float[Array, "*many"]
    area: Float[Array, "*many"]
    objective: Float[Array, "*many_or_two steps"]
    evaluations: int = eqx.field(static=True)
