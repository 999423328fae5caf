"""Data: small real sets, toys whose truth is known, irregular series, and the user's own files.

Every loader returns NumPy arrays. Images are float32; what is generated or read from text is
float64, which JAX takes as float32 unless `jax_enable_x64` is set.
"""

from pullback import _contents
from pullback.data._cifar import cifar10_subset as cifar10_subset
from pullback.data._continual import permuted_tasks as permuted_tasks
from pullback.data._continual import split_tasks as split_tasks
from pullback.data._digits import digits as digits
from pullback.data._dsprites import dsprites as dsprites
from pullback.data._errors import DataError as DataError
from pullback.data._fetch import fetch as fetch
from pullback.data._grid import GriddedSeries as GriddedSeries
from pullback.data._grid import on_grid as on_grid
from pullback.data._idx import read_idx as read_idx
from pullback.data._irregular import IrregularSeries as IrregularSeries
from pullback.data._irregular import SeriesSplit as SeriesSplit
from pullback.data._irregular import irregular_series as irregular_series
from pullback.data._letters import reverse_complement as reverse_complement
from pullback.data._long import LongTable as LongTable
from pullback.data._long import long_table as long_table
from pullback.data._long import read_long as read_long
from pullback.data._mixed_table import MixedTable as MixedTable
from pullback.data._mixed_table import as_labels as as_labels
from pullback.data._mixed_table import looks_like_dates as looks_like_dates
from pullback.data._mixed_table import mixed_chunks as mixed_chunks
from pullback.data._mixed_table import read_mixed as read_mixed
from pullback.data._mnist import fashion_mnist as fashion_mnist
from pullback.data._mnist import mnist as mnist
from pullback.data._mocap import mocap35 as mocap35
from pullback.data._molecule_sets import MoleculeSplit as MoleculeSplit
from pullback.data._molecule_sets import molnet as molnet
from pullback.data._molecule_sets import nci_molecules as nci_molecules
from pullback.data._molecule_sets import zinc as zinc
from pullback.data._omniglot import omniglot as omniglot
from pullback.data._one_hot import from_one_hot as from_one_hot
from pullback.data._one_hot import one_hot as one_hot
from pullback.data._physionet import physionet2012 as physionet2012
from pullback.data._places import locate as locate
from pullback.data._planted_motif import PlantedMotif as PlantedMotif
from pullback.data._planted_motif import planted_motif as planted_motif
from pullback.data._processes import cosine_points as cosine_points
from pullback.data._processes import ornstein_uhlenbeck as ornstein_uhlenbeck
from pullback.data._processes import poisson_events as poisson_events
from pullback.data._processes import sinusoids as sinusoids
from pullback.data._processes import stochastic_lorenz as stochastic_lorenz
from pullback.data._ratings import Ratings as Ratings
from pullback.data._ratings import RatingsSplit as RatingsSplit
from pullback.data._read_molecules import read_molecules as read_molecules
from pullback.data._read_motifs import read_motifs as read_motifs
from pullback.data._read_ratings import read_ratings as read_ratings
from pullback.data._read_sequences import read_sequences as read_sequences
from pullback.data._read_sequences import write_fasta as write_fasta
from pullback.data._rescale import SeriesScaler as SeriesScaler
from pullback.data._rescale import rescale_series as rescale_series
from pullback.data._scenes import Scenes as Scenes
from pullback.data._scenes import SceneSplit as SceneSplit
from pullback.data._scenes import digit_scenes as digit_scenes
from pullback.data._sequence_sets import BindingArray as BindingArray
from pullback.data._sequence_sets import SpliceJunctions as SpliceJunctions
from pullback.data._sequence_sets import jaspar as jaspar
from pullback.data._sequence_sets import splice_junctions as splice_junctions
from pullback.data._sequence_sets import uniprobe as uniprobe
from pullback.data._sequences import Molecules as Molecules
from pullback.data._sequences import Motif as Motif
from pullback.data._sequences import Sequences as Sequences
from pullback.data._series import Series as Series
from pullback.data._series import spiral_series as spiral_series
from pullback.data._shapes import Factored as Factored
from pullback.data._shapes import drawn_shapes as drawn_shapes
from pullback.data._shapes import soft_squares as soft_squares
from pullback.data._standardise import Scaler as Scaler
from pullback.data._standardise import standardise as standardise
from pullback.data._switching import ExplainedSeries as ExplainedSeries
from pullback.data._switching import StateLaw as StateLaw
from pullback.data._switching import switching_features as switching_features
from pullback.data._switching import switching_state as switching_state
from pullback.data._switching import threshold_spikes as threshold_spikes
from pullback.data._table import NumberTable as NumberTable
from pullback.data._table import read_table as read_table
from pullback.data._toys import checkerboard as checkerboard
from pullback.data._toys import eight_gaussians as eight_gaussians
from pullback.data._toys import eight_gaussians_log_prob as eight_gaussians_log_prob
from pullback.data._toys import pinwheel as pinwheel
from pullback.data._toys import spirals as spirals
from pullback.data._toys import two_circles as two_circles
from pullback.data._toys import two_moons as two_moons
from pullback.data._types import Labelled as Labelled
from pullback.data._types import Measured as Measured
from pullback.data._types import MeasuredSplit as MeasuredSplit
from pullback.data._types import Split as Split
from pullback.data._uci import uci_regression as uci_regression
from pullback.data._vocabulary import Vocabulary as Vocabulary

__all__, __dir__ = _contents.of(__name__)
