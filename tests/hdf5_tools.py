"""Compares what h5py and the module `cidstore_h5` find in a data file with the pairs that are in it."""

import pathlib
import sys

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))
import cidstore_h5  # noqa: E402


def main():
    path, pairs, state = sys.argv[1:]
    expected = {}
    with open(pairs) as lines:
        for line in lines:
            key, value = (int(word, 16) for word in line.split())
            expected.setdefault(key, set()).add(value)

    with h5py.File(path, "r") as file:
        assert file.userblock_size == 8192
        assert file.attrs["encoding-type"] == b"cidstore", file.attrs["encoding-type"]
        pages = file["/buckets/pages"]
        directory = file["/dir"][:]
        assert len(directory) == 1 << file["config"].attrs["global_depth"]
        one = pages[int(directory[3]["page"])]
        assert one["entries"]["key_high"].shape == (62,)
        assert one["header"]["kind"] == 0x4243
        everything = pages[:]
        assert (everything["header"]["kind"][directory["page"]] == 0x4243).all()
        live = file["config"].attrs["key_count"]
        assert live == len(expected), (live, len(expected))
        nodes = file["/tables/pages"]
        assert nodes.dtype["slots"].shape == (512,)
        leaf = file["/types/LeafPage"].dtype
        table = file["/values/table"][:]
        values = file["/values/pages"][:]
        leaves = values[values["kind"] == 0x4C56].view(leaf)
        assert len(leaves) and (leaves["header"]["count"] <= 250).all()
        assert (values["kind"][table["page"][table["page"] > 0]] != 0).all()

    with cidstore_h5.open(path) as view:
        found = {key: set(values) for key, values in view.items()}
        assert found == expected, "items"
        for key in list(expected)[:300]:
            assert set(view.get(key)) == expected[key], hex(key)
        assert view.get(0xDEAD) == []
        keys, offsets, values = view.to_arrays()
        assert len(keys) == len(expected) and offsets[-1] == len(values) == sum(map(len, expected.values()))

    if state == "live":
        try:
            h5py.File(path, "r+").close()
        except (BlockingIOError, OSError):
            pass
        else:
            raise AssertionError("a store in use was opened r+")
    if state == "closed":
        with h5py.File(path, "r+") as file:
            file["/config"].attrs["foreign"] = np.arange(100)
            if "foreign" not in file:
                file.create_dataset("foreign", data=np.zeros(100_000))
    if state == "again":
        with h5py.File(path, "r") as file:
            assert "foreign" not in file and "foreign" not in file["/config"].attrs


main()
