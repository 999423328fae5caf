"""Bounds on integrals that have no closed form: evidence, and mutual information."""
