//! Others read an export: h5py by field names alone, and h5dump.

use std::path::Path;
use std::process::Command;

use cidstore_hdf5::exchange::Compression;
use cidstore_testkit::Scratch;

use super::{export, fill, import, rich, store_at};

/// Debian's Python, which is the one that has Debian's h5py.
const PYTHON: &str = "/usr/bin/python3";

/// Prints every pair of the file in its argument as two hexadecimal numbers, by what the file itself tells; checks order.
const READ: &str = r#"
import sys, h5py, numpy
f = h5py.File(sys.argv[1], "r")
assert f.attrs["encoding-type"] == b"cidstore", f.attrs["encoding-type"]
assert f.attrs["encoding-version"] == b"1.0.0"
config = f["config"].attrs
assert len(config["hash_seed"]) == 2
directory = f["dir"][: 2 ** int(config["global_depth"])]["page"]
assert (config["dir"]["page"] == directory).all()
pages = f["buckets/pages"][:]
table = f["values/table"][:]["page"]
values = f["values/pages"][:]
_, first = numpy.unique(directory, return_index=True)
in_order = directory[numpy.sort(first)]
assert (numpy.diff(in_order.astype("i8")) > 0).all(), "pages are not in directory order"
capacities = [8, 16, 32, 64, 122, 248]
number = lambda n: int(n["high"]) << 64 | int(n["low"])
def values_of(reference):
    page, extent = reference & 0xffffffff, reference >> 32
    page = values[table[page]]
    numbers = page["numbers"]
    if extent:
        at = 3 + (extent - 1) * (4 + capacities[page["class_or_level"]])
        count = int(numbers[at + 1]["high"]) >> 32 & 0xffff
        return [number(n) for n in numbers[at + 4 : at + 4 + count]]
    while page["kind"] == 0x4956:
        page = values[table[int(numbers[171]["high"]) & 0xffffffff]]
        numbers = page["numbers"]
    found = []
    while True:
        count = int(numbers[0]["high"]) >> 32 & 0xffff
        found += [number(n) for n in numbers[5 : 5 + count]]
        following = int(numbers[0]["low"]) & 0xffffffff
        if following == 0:
            return found
        numbers = values[table[following]]["numbers"]
for page in pages[1:]:
    entries = page["entries"][: page["header"]["entry_count"]]
    keys = [int(e["key_high"]) << 64 | int(e["key_low"]) for e in entries]
    assert keys == sorted(keys), "entries are not in key order"
    for key, entry in zip(keys, entries):
        flags = entry["flags"]
        bits = [flags >> i & 1 for i in (2, 4, 5, 6)]
        if bits[1]:
            found = values_of(int(entry["slots"][0]))
            assert found == sorted(found), "values are not in order"
        else:
            mask = [entry["state_mask"] >> i & 1 for i in (2, 4, 5, 6)]
            slots = [int(s) for s in entry["slots"]]
            both = [slots[0] << 64 | slots[1], slots[2] << 64 | slots[3]]
            found = [v for v, live in zip(both + both, mask) if live]
        for value in found:
            print(f"{key:x} {value:x}")
"#;

fn output(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    // The library leaves its files open to child processes, and with them its lock: one that another test starts while this
    // file is made keeps it locked.
    command.args(arguments).env("HDF5_USE_FILE_LOCKING", "FALSE");
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The pairs that a script printed, in order.
fn pairs(text: &str) -> Vec<(u128, u128)> {
    let number = |text: &str| u128::from_str_radix(text, 16).unwrap();
    let pair = |line: &str| line.split_once(' ').map(|(key, value)| (number(key), number(value)));
    let mut pairs: Vec<_> = text.lines().map(|line| pair(line).unwrap()).collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn h5py_reads_every_pair_by_the_names_in_the_file() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    for compression in [None, Some(Compression::Gzip(1)), Some(Compression::Lzf)] {
        let file = scratch.path().join(format!("{compression:?}.h5"));
        export(&store, &file, compression);
        let text = output(PYTHON, &["-c", READ, file.to_str().unwrap()]);
        assert!(pairs(&text).into_iter().eq(model.pairs()), "{compression:?}");
    }
}

/// The reader of live files, on an export.
const HELPER: &str = r#"
import sys
sys.path.insert(0, sys.argv[2])
import cidstore_h5
with cidstore_h5.open(sys.argv[1]) as view:
    for key, values in view.items():
        for value in values:
            print(f"{key:x} {value:x}")
"#;

#[test]
fn the_reader_of_live_files_reads_an_export_too() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    let file = scratch.path().join("plain.h5");
    export(&store, &file, None);
    // The package that links the library statically runs this test as well, from further down the tree.
    let helper = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|above| above.join("python"))
        .find(|folder| folder.join("cidstore_h5.py").is_file())
        .unwrap();
    let text = output(PYTHON, &["-c", HELPER, file.to_str().unwrap(), helper.to_str().unwrap()]);
    assert!(pairs(&text).into_iter().eq(model.pairs()));
}

#[test]
fn the_tools_of_hdf5_take_it_and_what_h5repack_makes_of_it_is_imported() {
    let scratch = Scratch::new();
    let (store, model) = (store_at(&scratch.data()), rich());
    fill(&store, &model);
    let paths = ["plain.h5", "repacked.h5", "copy.h5"].map(|name| scratch.path().join(name));
    let [file, repacked, copy] = paths.each_ref();
    export(&store, file, None);
    let [from, to] = [file, repacked].map(|path| path.to_str().unwrap());
    let header = output("h5dump", &["-H", from]);
    for name in ["key_high", "state_mask", "hash_seed", "sorted_count"] {
        assert!(header.contains(name), "{name} is not in {header}");
    }
    assert!(output("h5ls", &["-r", from]).contains("/buckets/pages"));
    for filter in ["NONE", "GZIP=1"] {
        let _ = std::fs::remove_file(repacked);
        let _ = std::fs::remove_file(copy);
        let log = copy.with_extension("h5-wal");
        let _ = std::fs::remove_file(log);
        output("h5repack", &["-f", filter, from, to]);
        import(repacked, copy).unwrap();
        cidstore_testkit::content::assert_store(&store_at(copy), &model);
    }
}
