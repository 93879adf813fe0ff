"""Measures `cidstore_h5` on a data file: `python3 python/rates.py FILE [GETS]`.

Keys are taken at random from the whole file, and the file from the page cache. Each `get` is timed by itself, so that
other programs on the machine show in the mean and the last percent, and hardly in the median.
"""

import random
import statistics
import sys
import time

import cidstore_h5


def main():
    path = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    with cidstore_h5.open(path) as view:
        started = time.perf_counter()
        keys, offsets, values = view.to_arrays()
        seconds = time.perf_counter() - started
        print(f"to_arrays: {len(keys)} keys, {len(values)} values in {seconds:.2f} s, {len(values) / seconds / 1e6:.2f} M values/s")
        random.seed(1)
        chosen = random.choices(range(len(keys)), k=count)
        times = []
        for row in chosen:
            high, low = keys[row].tolist()
            key = high << 64 | low
            started = time.perf_counter_ns()
            found = view.get(key)
            times.append(time.perf_counter_ns() - started)
            if len(found) != offsets[row + 1] - offsets[row]:
                raise SystemExit(f"{key:#x} has {len(found)} values here, and {offsets[row + 1] - offsets[row]} there")
        cuts = statistics.quantiles(times, n=100)
        print(
            f"get: {count} keys, microseconds: mean {statistics.fmean(times) / 1000:.1f}, "
            f"median {cuts[49] / 1000:.1f}, 90 % {cuts[89] / 1000:.1f}, 99 % {cuts[98] / 1000:.1f}"
        )


main()
