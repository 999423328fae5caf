"""What latent-variable models cost, beside their rivals: `make bench-vae`.

An epoch of training, the split of the total correlation, local posteriors of many examples at
once, and annealed importance sampling. One process, the rivals taking turns.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import torch

import _vae_epoch as epoch
import _vae_gaps as gaps
import _vae_total_correlation as total_correlation
from _harness import machine, markdown_table, splice, write_results

PACKAGES = ("pullback", "jax", "jaxlib", "equinox", "numpyro", "optax", "torch", "numpy")


def table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One group of rivals; ratios are of the least times, to the first row."""
    first = next(iter(rows.values()))["time"].min
    memory = any("bytes" in row for row in rows.values())
    header = [title, "least s", "median s", "ratio", "compile s", "value"]
    return markdown_table(
        [*header, "memory MB"] if memory else header,
        [
            [
                name,
                f"{row['time'].min:.3f}",
                f"{row['time'].median:.3f}",
                f"{row['time'].min / first:.2f}",
                f"{row['compile']:.1f}" if "compile" in row else "",
                f"{row['value']:.2f}",
                *([f"{row['bytes'] / 1e6:.0f}" if "bytes" in row else ""] if memory else []),
            ]
            for name, row in rows.items()
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of each rival")
    parser.add_argument("--print", action="store_true", help="print the tables and write nothing")
    options = parser.parse_args()
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    parts = [
        f"{where['cpu']}, {where['cores']} cores (PyTorch {torch.get_num_threads()} threads), load "
        f"{where['load_at_start']} at the start; Python {where['python']}, {versions}.",
        "Float32. The values are what each rival estimates, on its own draws: the loss at the end "
        "of an epoch, the total correlation of the batch, the mean bound, the log-evidence.",
    ]
    groups = {
        "an epoch of 60,000 images, 784-200-200-50": epoch.run(epochs=options.epochs),
        "total correlation, batch 2,048 x 10": total_correlation.run(),
        **gaps.run(),
    }
    for name, rows in groups.items():
        parts.append(table(name, rows))
        print("\n" + parts[-1], flush=True)
    if not options.print:
        write_results("vae", {"machine": where, "options": vars(options), "groups": groups})
        splice("bench-vae", "\n\n".join(parts))


if __name__ == "__main__":
    main()
