"""The glossary of the pages."""

WORDS = {
    "log-density": "how likely a row is, as the natural logarithm of the density in the table's "
    "own units; only differences between rows mean something.",
    "nat": "the unit of log-densities; one nat more is 2.7 times as likely.",
    "log-odds": "the logarithm of p / (1 - p) of a class: 0 where it is as likely as all others "
    "together, 2.2 at 90 %, and below 0 where it is less likely.",
    "standard error": "how far a mean of that many rows is off by chance; twice as much is rare.",
    "log loss": "the mean of minus the logarithm of the probability that was given to what came "
    "true; lower is better, and 0 is to be sure and right.",
    "Brier score": "the mean squared distance of the probabilities from what came true; lower is "
    "better.",
    "ECE": "the expected calibration error: how far, in the mean, the probability that was given "
    "is from the share that came true; 0 is calibrated.",
    "AUROC": "the area under the ROC curve: the chance that a classifier, on rows that it has not "
    "seen, ranks a sample and a row rightly; 0.5 where it cannot tell them apart, 1 where it "
    "always can.",
    "density of samples": "how many rows of the table have a sample within reach of their "
    "neighbours, in the mean; 1 for samples that lie as rows do, 0 for samples far off.",
    "coverage of samples": "the share of rows that have a sample within reach of their neighbours.",
    "Gaussian copula": "columns that hang together as those of a normal distribution do, each with "
    "the values that it has in the table.",
    "RMSE": "the root of the mean squared error of predicted ratings, in the ratings' own unit; "
    "lower is better.",
    "NDCG": "the normalised discounted cumulative gain: 1 where all that a user came to like "
    "stands first, less the further down it stands; 0 where none of it is shown.",
    "newcomer": "a user of whom no parameter has seen a rating.",
    "coverage": "the share of true values that lie inside of a band; of a 90 % band it should be "
    "90 %.",
    "conformal": "said of a band whose width is taken from the errors on held-out data, so that it "
    "covers what it says, whatever the model, on data of the same kind.",
    "k-mer": "k letters of a sequence that stand side by side.",
    "divergence of k-mers": "how far the shares of k-mers of two sets of sequences are apart, by "
    "Jensen and Shannon, in nats: 0 where they are the same, 0.69 where none is in both. Of "
    "few sequences it is above 0 by chance: compare with those held out.",
    "ensemble": "several networks trained apart on the same scores: what they say alike can be "
    "believed more than that on which they differ.",
    "logP": "the logarithm of how much more of a molecule dissolves in octanol than in water, by "
    "Crippen's atoms: about 1 to 3 is usual of drugs.",
    "QED": "how much a molecule is like a drug, from 0 to 1: size, polarity, rings and more.",
    "SAS": "how hard a molecule is to make, from 1, easy, to 10, by how rare its parts are.",
    "squared MMD": "how far two sets of graphs are apart in a statistic, by a kernel on the total "
    "variation distance of its histograms: 0 where they are the same. Of few graphs it is above 0 "
    "by chance, and it means nothing beside figures of other data, sets or kernels.",
    "Erdos-Renyi graph": "any two nodes are joined with the same probability, whatever the rest.",
    "orbits": "in how many small patterns of four nodes, such as paths, stars and squares, a node "
    "lies, and where in them.",
    "spectrum of a graph": "the eigenvalues of its normalised Laplacian: how it falls into parts.",
    "alerts": "parts of molecules that react or disturb assays, of the lists PAINS and Brenk.",
    "Morgan fingerprint": "which pieces of up to two bonds around an atom a molecule has: what "
    "most would take to predict a property.",
}
