# How many dependencies does a package have, and how many packages need it?
#
# In the cells of a notebook, or as a program: `python3 python/degrees.py debian.h5 degrees.svg`, where debian.h5 is
# made by the `cidstore load` of the README. Needs numpy, h5py and matplotlib.

# %% The data file is an HDF5 file, so h5py opens it, also while a program writes to the store.
import gzip
import pathlib
import sys

import h5py
import matplotlib
import numpy as np

import cidstore_h5

matplotlib.use("svg")
from matplotlib import pyplot as plt  # noqa: E402

data, picture = sys.argv[1:3] if len(sys.argv) > 2 else ("debian.h5", "degrees.svg")

with h5py.File(data, "r") as file:
    config = dict(file["config"].attrs)
    print("keys:", config["key_count"], "values:", config["value_count"], "checkpoint:", config["checkpoint"])
    # Every field of a page has a name.
    pages = file["buckets/pages"]
    print("pages:", len(pages), "fields:", ", ".join(pages.dtype.names))

# %% Everything at once, as arrays: the values of keys[i] are values[offsets[i]:offsets[i + 1]].
with cidstore_h5.open(data) as view:
    keys, offsets, values = view.to_arrays()
    print("how old:", view.age())
    libc = view.get(cidstore_h5.name("needed-by:libc6"))
    print("packages that need libc6:", len(libc))

# %% Names are hashed to numbers, so the numbers of the packages are looked up in the list of names.
source = pathlib.Path(__file__).parent.parent / "examples/data/debian-12-depends.tsv.gz"
with gzip.open(source, "rt") as lines:
    packages = {field for line in lines if not line.startswith("#") for field in line.rstrip("\n").split("\t")}
names = {cidstore_h5.name(prefix + package): prefix + package for package in packages for prefix in ("", "needed-by:")}
degrees = np.diff(offsets)
most = np.argsort(degrees)[::-1][:8]
for at in most:
    number = int(keys[at]["high"]) << 64 | int(keys[at]["low"])
    print(f"{degrees[at]:7} {names.get(number, hex(number))}")

# %% The share of packages with at least so many, on two logarithmic axes.
needed_by = np.array([names.get(h << 64 | l, "").startswith("needed-by:") for h, l in keys.tolist()])
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
for label, which, colour in (("depends on", ~needed_by, "#0072b2"), ("is needed by", needed_by, "#d55e00")):
    ordered = np.sort(degrees[which])[::-1]
    axes.step(ordered, np.arange(1, len(ordered) + 1) / len(ordered), where="post", label=label, color=colour)
axes.set(xscale="log", yscale="log", xlabel="packages", ylabel="share of packages with at least so many")
axes.set_title("Debian 12: what a package depends on, and what needs it")
axes.grid(alpha=0.3)
axes.legend(frameon=False)
figure.savefig(picture)
print("drawn:", picture)
