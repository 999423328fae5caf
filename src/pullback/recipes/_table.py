"""The recipes that there are, in a form that costs nothing to read."""

import difflib
import importlib
from dataclasses import dataclass

from pullback.runs import Experiment


@dataclass(frozen=True)
class Entry:
    """One line of the table of recipes; reading it imports no recipe and no jax.

    Args:
        module: The module whose `RECIPE` is the recipe.
        arxiv: The paper's arXiv identifier.
        title: The paper's title.
        summary: One line about what the recipe does.
        authors: The paper's authors.
        year: The year of its first version.
    """

    module: str
    arxiv: str
    title: str
    summary: str
    authors: tuple[str, ...]
    year: int

    @property
    def bibtex(self) -> str:
        """The paper as a BibTeX entry."""
        surname = self.authors[0].split()[-1].lower()
        word = self.title.split()[0].strip(":").lower()
        return (
            f"@misc{{{surname}{self.year}{word},\n"
            f"  title = {{{{{self.title}}}}},\n"
            f"  author = {{{' and '.join(self.authors)}}},\n"
            f"  year = {{{self.year}}},\n"
            f"  eprint = {{{self.arxiv}}},\n"
            "  archivePrefix = {arXiv},\n"
            f"  url = {{https://arxiv.org/abs/{self.arxiv}}},\n"
            "}"
        )


TABLE: dict[str, Entry] = {
    "neural-ode": Entry(
        module="pullback.recipes.neural_ode",
        arxiv="1806.07366",
        title="Neural Ordinary Differential Equations",
        summary="An ODE network reads handwritten digits, and what its gradients cost.",
        authors=("Ricky T. Q. Chen", "Yulia Rubanova", "Jesse Bettencourt", "David Duvenaud"),
        year=2018,
    ),
    "cnf": Entry(
        module="pullback.recipes.cnf",
        arxiv="1810.01367",
        title="FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models",
        summary="A continuous normalising flow learns the density of points in the plane.",
        authors=(
            "Will Grathwohl",
            "Ricky T. Q. Chen",
            "Jesse Bettencourt",
            "Ilya Sutskever",
            "David Duvenaud",
        ),
        year=2018,
    ),
    "latent-ode": Entry(
        module="pullback.recipes.latent_ode",
        arxiv="1907.03907",
        title="Latent ODEs for Irregularly-Sampled Time Series",
        summary="Series with gaps: predicted, filled in and continued by ODEs, with bands.",
        authors=("Yulia Rubanova", "Ricky T. Q. Chen", "David Duvenaud"),
        year=2019,
    ),
    "taynode": Entry(
        module="pullback.recipes.taynode",
        arxiv="2007.04504",
        title="Learning Differential Equations that are Easy to Solve",
        summary=(
            "An ODE network is trained so that an adaptive solver needs few evaluations to run it."
        ),
        authors=(
            "Jacob Kelly",
            "Jesse Bettencourt",
            "Matthew James Johnson",
            "David Duvenaud",
        ),
        year=2020,
    ),
    "hollow-net": Entry(
        module="pullback.recipes.hollow_net",
        arxiv="1912.03579",
        title="Neural Networks with Cheap Differential Operators",
        summary="Exact divergences at the cost of an evaluation: flows on digits, and stiff steps.",
        authors=("Ricky T. Q. Chen", "David Duvenaud"),
        year=2019,
    ),
    "sde-bnn": Entry(
        module="pullback.recipes.sde_bnn",
        arxiv="2102.06559",
        title="Infinitely Deep Bayesian Neural Networks with Stochastic Differential Equations",
        summary=(
            "Networks whose weights follow an SDE in depth give calibrated answers from few data."
        ),
        authors=("Winnie Xu", "Ricky T. Q. Chen", "Xuechen Li", "David Duvenaud"),
        year=2021,
    ),
    "latent-sde": Entry(
        module="pullback.recipes.latent_sde",
        arxiv="2001.01328",
        title="Scalable Gradients for Stochastic Differential Equations",
        summary=(
            "A latent SDE finds a posterior over paths that is known exactly, and its evidence."
        ),
        authors=(
            "Xuechen Li",
            "Ting-Kam Leonard Wong",
            "Ricky T. Q. Chen",
            "David Duvenaud",
        ),
        year=2020,
    ),
    "sticking-the-landing": Entry(
        module="pullback.recipes.sticking_the_landing",
        arxiv="1703.09194",
        title=(
            "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational "
            "Inference"
        ),
        summary=(
            "Gradients whose noise vanishes where q is the posterior, and where they are noisier."
        ),
        authors=("Geoffrey Roeder", "Yuhuai Wu", "David Duvenaud"),
        year=2017,
    ),
    "iwae-posterior": Entry(
        module="pullback.recipes.iwae_posterior",
        arxiv="1704.02916",
        title="Reinterpreting Importance-Weighted Autoencoders",
        summary="The posterior that importance weighting implies, and what it is worth.",
        authors=("Chris Cremer", "Quaid Morris", "David Duvenaud"),
        year=2017,
    ),
    "sumo": Entry(
        module="pullback.recipes.sumo",
        arxiv="2004.00353",
        title=("SUMO: Unbiased Estimation of Log Marginal Probability for Latent Variable Models"),
        summary="The log-evidence without bias, for objectives that would exploit a bound.",
        authors=(
            "Yucen Luo",
            "Alex Beatson",
            "Mohammad Norouzi",
            "Jun Zhu",
            "David Duvenaud",
            "Ryan P. Adams",
            "Ricky T. Q. Chen",
        ),
        year=2020,
    ),
    "mi-bounds": Entry(
        module="pullback.recipes.mi_bounds",
        arxiv="1905.06922",
        title="On Variational Bounds of Mutual Information",
        summary="How many nats two variables share: bounds from below and above, and their spread.",
        authors=(
            "Ben Poole",
            "Sherjil Ozair",
            "Aäron van den Oord",
            "Alexander A. Alemi",
            "George Tucker",
        ),
        year=2019,
    ),
    "inference-gaps": Entry(
        module="pullback.recipes.inference_gaps",
        arxiv="1801.03558",
        title="Inference Suboptimality in Variational Autoencoders",
        summary="What a posterior loses by its family, and what by its encoder.",
        authors=("Chris Cremer", "Xuechen Li", "David Duvenaud"),
        year=2018,
    ),
    "beta-tcvae": Entry(
        module="pullback.recipes.beta_tcvae",
        arxiv="1802.04942",
        title="Isolating Sources of Disentanglement in Variational Autoencoders",
        summary="Latents made independent without losing the image, scored by known factors.",
        authors=("Ricky T. Q. Chen", "Xuechen Li", "Roger Grosse", "David Duvenaud"),
        year=2018,
    ),
    "relax": Entry(
        module="pullback.recipes.relax",
        arxiv="1711.00123",
        title=(
            "Backpropagation through the Void: Optimizing control variates for black-box gradient "
            "estimation"
        ),
        summary="Discrete choices trained by REINFORCE, REBAR, RELAX and Gumbel-softmax.",
        authors=(
            "Will Grathwohl",
            "Dami Choi",
            "Yuhuai Wu",
            "Geoffrey Roeder",
            "David Duvenaud",
        ),
        year=2017,
    ),
    "gumbel-softmax": Entry(
        module="pullback.recipes.gumbel_softmax",
        arxiv="1611.01144",
        title="Categorical Reparameterization with Gumbel-Softmax",
        summary="Gradients through categories: their bias and noise, and an autoencoder on digits.",
        authors=("Eric Jang", "Shixiang Gu", "Ben Poole"),
        year=2016,
    ),
    "rate-distortion": Entry(
        module="pullback.recipes.rate_distortion",
        arxiv="1711.00464",
        title="Fixing a Broken ELBO",
        summary="Autoencoders by rate and distortion: what an ELBO hides, and how to set a rate.",
        authors=(
            "Alexander A. Alemi",
            "Ben Poole",
            "Ian Fischer",
            "Joshua V. Dillon",
            "Rif A. Saurous",
            "Kevin Murphy",
        ),
        year=2017,
    ),
    "delta-vae": Entry(
        module="pullback.recipes.delta_vae",
        arxiv="1901.03416",
        title="Preventing Posterior Collapse with delta-VAEs",
        summary="Latents that a strong decoder cannot ignore: a prior that no posterior meets.",
        authors=("Ali Razavi", "Aäron van den Oord", "Ben Poole", "Oriol Vinyals"),
        year=2019,
    ),
    "residual-flow": Entry(
        module="pullback.recipes.residual_flow",
        arxiv="1906.02735",
        title="Residual Flows for Invertible Generative Modeling",
        summary="Flows of free-form networks, and why their likelihood has to be unbiased.",
        authors=("Ricky T. Q. Chen", "Jens Behrmann", "David Duvenaud", "Jörn-Henrik Jacobsen"),
        year=2019,
    ),
    "jem": Entry(
        module="pullback.recipes.jem",
        arxiv="1912.03263",
        title="Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One",
        summary=(
            "A classifier trained as a density too: calibrated, and wary of what it has not seen."
        ),
        authors=(
            "Will Grathwohl",
            "Kuan-Chieh Wang",
            "Jörn-Henrik Jacobsen",
            "David Duvenaud",
            "Mohammad Norouzi",
            "Kevin Swersky",
        ),
        year=2019,
    ),
    "lsd": Entry(
        module="pullback.recipes.lsd",
        arxiv="2002.05616",
        title=(
            "Learning the Stein Discrepancy for Training and Evaluating Energy-Based Models "
            "without Sampling"
        ),
        summary="Does a model fit? Tests, rankings and training by the score alone.",
        authors=(
            "Will Grathwohl",
            "Kuan-Chieh Wang",
            "Jörn-Henrik Jacobsen",
            "David Duvenaud",
            "Richard Zemel",
        ),
        year=2020,
    ),
    "vera": Entry(
        module="pullback.recipes.vera",
        arxiv="2010.04230",
        title=(
            "No MCMC for me: Amortized sampling for fast and stable training of energy-based models"
        ),
        summary="Energies trained by a generator with entropy; few labels, on your own table too.",
        authors=(
            "Will Grathwohl",
            "Jacob Kelly",
            "Milad Hashemi",
            "Mohammad Norouzi",
            "Kevin Swersky",
            "David Duvenaud",
        ),
        year=2020,
    ),
    "i-resnet": Entry(
        module="pullback.recipes.i_resnet",
        arxiv="1811.00995",
        title="Invertible Residual Networks",
        summary="Residual networks made invertible by a bound on their layers, and what it costs.",
        authors=(
            "Jens Behrmann",
            "Will Grathwohl",
            "Ricky T. Q. Chen",
            "David Duvenaud",
            "Jörn-Henrik Jacobsen",
        ),
        year=2018,
    ),
}


def find(name: str) -> Entry:
    """The table's entry for the recipe `name`.

    Raises:
        ValueError: There is no such recipe; the message gives the nearest name.

    Example:
        >>> find("neural_ode")
        Traceback (most recent call last):
        ValueError: there is no recipe 'neural_ode'; did you mean 'neural-ode'? (recipes: ...)
    """
    if name in TABLE:
        return TABLE[name]
    near = difflib.get_close_matches(name.lower(), TABLE, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"there is no recipe {name!r}{hint} (recipes: {', '.join(TABLE)})")


def load(name: str) -> Experiment:
    """Import the recipe `name`.

    Raises:
        ValueError: There is no such recipe; the message gives the nearest name.
    """
    return importlib.import_module(find(name).module).RECIPE
