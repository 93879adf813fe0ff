//! Each command does what it says.

use std::collections::BTreeSet;

use cidstore::E;
use serde_json::json;

use crate::harness::{Folder, bytes, run, run_with, tsv, tsv_lines};

/// A store with the pairs of `tsv(keys)` and their names.
fn loaded(folder: &Folder, keys: usize) -> String {
    let store = folder.text("s.h5");
    run_with(&["load", "--ids", "name", &store, "-"], tsv(keys).as_bytes()).ok();
    store
}

#[test]
fn a_pair_lives_and_dies() {
    let folder = Folder::new();
    let store = &folder.text("s.h5");
    assert_eq!(run(&["insert", store, "0x1", "0x2"]).ok(), "inserted\n");
    assert_eq!(run(&["insert", store, "0x1", "0x2"]).ok(), "already there\n");
    assert_eq!(run(&["insert", store, "0x1", "0x0"]).ok(), "inserted\n");
    let (zero, two) = (E::ZERO.to_string(), E::from(2).to_string());
    assert_eq!(run(&["get", store, "0x1"]).ok(), format!("{zero}\n{two}\n"));
    assert_eq!(run(&["delete", store, "0x1", "0x2"]).ok(), "deleted 1 value\n");
    assert_eq!(run(&["get", store, "0x1"]).ok(), format!("{zero}\n"));
    run(&["delete", store, "0x1", "0x2"]).fails(1, &["no such pair"]);
    assert_eq!(run(&["delete", store, "0x1"]).ok(), "deleted 1 value\n");
    run(&["delete", store, "0x1"]).fails(1, &["no such key: 0x1"]);
    run(&["get", store, "0x1"]).fails(1, &["no such key: 0x1"]);
}

#[test]
fn insert_and_delete_speak_json() {
    let folder = Folder::new();
    let store = &folder.text("s.h5");
    let insert = |value: &str| run(&["insert", "--json", store, "0x1", value]).record();
    let (first, again) = (insert("0x2"), insert("0x2"));
    assert_eq!((&first["type"], &first["new"]), (&json!("inserted"), &json!(true)));
    assert!(first["lsn"].as_u64().unwrap() > 0);
    assert_eq!(again["new"], json!(false));
    assert_eq!(
        run(&["delete", "--json", store, "0x1"]).record(),
        json!({"type": "deleted", "values": 1})
    );
    let nothing = run(&["delete", "--json", store, "0x1"]);
    nothing.fails(1, &["no such key"]);
    assert_eq!(nothing.out, "{\"type\":\"deleted\",\"values\":0}\n");
}

#[test]
fn names_are_remembered_and_shown() {
    let folder = Folder::new();
    let store = &folder.text("s.h5");
    for value in ["libc6", "base-files"] {
        run(&["insert", "--ids", "name", store, "bash", value]).ok();
    }
    let digits = |name: &str| E::from_name(name).to_string();
    assert_eq!(run(&["get", "--ids", "name", store, "bash"]).ok(), "base-files\nlibc6\n");
    assert_eq!(run(&["get", store, &digits("bash")]).ok(), "base-files\nlibc6\n");
    let mut hex = vec![digits("libc6"), digits("base-files")];
    hex.sort();
    assert_eq!(run(&["get", "--ids", "hex", store, &digits("bash")]).lines(), hex);
    assert_eq!(
        run(&["get", "--ids", "name", "--json", store, "bash"]).record(),
        json!({
            "type": "values",
            "key": {"id": digits("bash"), "name": "bash"},
            "count": 2,
            "values": [
                {"id": digits("base-files"), "name": "base-files"},
                {"id": digits("libc6"), "name": "libc6"},
            ],
        })
    );
    // Without the dictionary the data is the same.
    std::fs::remove_file(folder.path("s.h5.names")).unwrap();
    assert_eq!(run(&["get", "--ids", "name", store, "bash"]).lines(), hex);
}

#[test]
fn get_takes_several_keys_and_tells_which_are_missing() {
    let folder = Folder::new();
    let store = &loaded(&folder, 3);
    let get = |more: &[&str]| run(&[&["get", "--ids", "name", store.as_str()], more].concat());
    assert_eq!(get(&["k0", "k1"]).ok(), "k0\tv0\nk1\tv0\nk1\tv1\n");
    assert_eq!(get(&["--count", "k2"]).ok(), "3\n");
    assert_eq!(get(&["--count", "k2", "k0"]).ok(), "k2\t3\nk0\t1\n");
    let some = get(&["k1", "nobody", "k0", "nothing"]);
    some.fails(1, &["2 keys", "nobody, nothing"]);
    assert_eq!(some.out, "k1\tv0\nk1\tv1\nk0\tv0\n");
    let count = get(&["--count", "--json", "k2"]).record();
    assert_eq!((&count["count"], &count["values"]), (&json!(3), &json!(null)));
}

#[test]
fn scan_gives_every_pair_once() {
    let folder = Folder::new();
    let store = &loaded(&folder, 500);
    assert_eq!(run(&["scan", store]).lines(), tsv_lines(500));
    let keys: BTreeSet<String> = (0..500).map(|key| format!("k{key}")).collect();
    assert_eq!(run(&["scan", "--keys", store]).lines(), Vec::from_iter(keys));
    for pair in run(&["scan", "--json", "--ids", "hex", store]).records() {
        assert_eq!(pair["type"], json!("pair"));
        assert_eq!(pair["key"]["name"], json!(null));
        assert_eq!(pair["value"]["id"].as_str().map(str::len), Some(32));
    }
}

#[test]
fn a_scan_in_parts_repeats_nothing_and_leaves_nothing_out() {
    let folder = Folder::new();
    let store = &loaded(&folder, 2000);
    // One key with more values than a part has pairs.
    let many: String = (0..300).map(|value| format!("many\tw{value}\n")).collect();
    run_with(&["load", "--ids", "name", store, "-"], many.as_bytes()).ok();
    let mut lines = Vec::new();
    let mut parts = 0;
    let mut from = None;
    loop {
        let cursor = from.clone().unwrap_or_else(|| "0".to_owned());
        let part = run(&["scan", "--json", "--limit", "100", "--from", &cursor, store]).records();
        let (last, pairs) = part.split_last().unwrap();
        assert_eq!(last["type"], json!("cursor"));
        for pair in pairs {
            let name = |of: &str| pair[of]["name"].as_str().unwrap().to_owned();
            lines.push(format!("{}\t{}", name("key"), name("value")));
        }
        parts += 1;
        match last["next"].as_str() {
            Some(next) => {
                assert!(pairs.len() >= 100);
                from = Some(next.to_owned());
            }
            None => break,
        }
    }
    lines.sort();
    let mut wanted = tsv_lines(2000);
    wanted.extend(many.lines().map(str::to_owned));
    wanted.sort();
    assert!(parts > 5, "{parts}");
    // Not `assert_eq!`: thousands of lines would bury the message.
    let lengths = (lines.len(), wanted.len());
    assert!(lines == wanted, "{lengths:?} {:?}", lines.iter().zip(&wanted).find(|(a, b)| a != b));
}

#[test]
fn a_scan_that_reaches_its_limit_at_the_end_tells_no_cursor() {
    let folder = Folder::new();
    // All in the only bucket.
    let store = &loaded(&folder, 3);
    for limit in ["1", "6", "7"] {
        let records = run(&["scan", "--json", "--limit", limit, store]).records();
        let (last, pairs) = records.split_last().unwrap();
        assert_eq!(pairs.len(), 6);
        assert_eq!(last, &json!({ "type": "cursor", "next": null }));
        assert_eq!(run(&["scan", "--limit", limit, store]).lines(), tsv_lines(3));
    }
}

/// In more than one bucket, too: the last part that has pairs is the last, whatever empty buckets come behind it.
#[test]
fn every_part_of_a_scan_has_pairs() {
    let folder = Folder::new();
    let store = &loaded(&folder, 2000);
    let mut from = "0".to_owned();
    loop {
        let part = run(&["scan", "--json", "--limit", "1", "--from", &from, store]).records();
        let (last, pairs) = part.split_last().unwrap();
        assert!(!pairs.is_empty(), "nothing from {from} on");
        match last["next"].as_str() {
            Some(next) => from = next.to_owned(),
            None => break,
        }
    }
}

#[test]
fn stat_counts() {
    let folder = Folder::new();
    let store = &loaded(&folder, 70);
    let stat = run(&["stat", "--json", store]).record();
    assert_eq!((&stat["keys"], &stat["values"]), (&json!(70), &json!(280)));
    let size = bytes(store).len();
    assert_eq!(stat["file_bytes"], json!(size));
    assert_eq!(stat["wal_bytes"], json!(bytes(format!("{store}-wal")).len()));
    let text = run(&["stat", store]).ok();
    assert!(text.contains("keys") && text.contains("280  4.00 a key"), "{text}");
}

#[test]
fn check_finds_a_healthy_store_healthy() {
    let folder = Folder::new();
    let store = &loaded(&folder, 700);
    let text = run(&["check", store]).ok();
    assert!(text.contains("700 keys, 2,800 values: all is well"), "{text}");
    let checked = run(&["check", "--json", store]).record();
    assert_eq!(checked["type"], json!("checked"));
    assert_eq!((&checked["values"], &checked["problems"]), (&json!(2800), &json!(0)));
}

#[test]
fn check_repairs_a_flipped_bit_if_told_so() {
    let folder = Folder::new();
    let store = &loaded(&folder, 700);
    let flip = |bits: u8| {
        let key = E::from_name("k1");
        let needle = [key.high.to_le_bytes(), key.low.to_le_bytes()].concat();
        let mut image = bytes(store);
        let is_key = |at: &usize| image[*at..].starts_with(&needle);
        // Pages that were replaced have it as well.
        let places: Vec<usize> = (0..image.len()).step_by(64).filter(is_key).collect();
        places.iter().for_each(|at| image[at + 24] ^= bits);
        std::fs::write(store, image).unwrap();
    };
    flip(4);
    let before = bytes(store);
    run(&["check", store]).fails(1, &["2 problems"]);
    let told = run(&["check", "--json", store]).out;
    let problem: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(problem["type"], json!("problem"));
    assert!(problem["detail"].as_str().unwrap().contains("a repair would"), "{problem}");
    assert_eq!(bytes(store), before, "without --repair no byte changes");
    let records = run(&["check", "--json", "--repair", store]).records();
    assert_eq!(
        (&records[0]["type"], &records[0]["place"]),
        (&json!("repaired"), &problem["place"])
    );
    assert_eq!((&records[1]["repaired"], &records[1]["problems"]), (&json!(1), &json!(0)));
    assert!(run(&["check", store]).ok().contains("700 keys, 2,800 values: all is well"));
    // Two bits of one value.
    flip(5);
    run(&["check", "--repair", store]).fails(1, &["2 problems"]);
    flip(5);
    run(&["check", store]).ok();
}

#[test]
fn compact_keeps_everything_and_grows_nothing() {
    let folder = Folder::new();
    let store = &loaded(&folder, 3000);
    for key in 0..20 {
        run(&["delete", "--ids", "name", store, &format!("k{key}")]).ok();
    }
    let before = run(&["scan", store]).lines();
    let sizes = run(&["compact", "--json", store]).record();
    assert_eq!(sizes["type"], json!("compacted"));
    assert!(sizes["bytes_after"].as_u64() <= sizes["bytes_before"].as_u64(), "{sizes}");
    assert_eq!(run(&["scan", store]).lines(), before);
    run(&["check", store]).ok();
}

#[test]
fn dump_shows_entries_and_structure() {
    let folder = Folder::new();
    let store = &loaded(&folder, 7);
    assert!(!run(&["dump", store]).ok().is_empty());
    let entry = run(&["dump", "--ids", "name", store, "k1"]).ok();
    let digits = E::from_name("k1").to_string();
    assert!(entry.contains(&format!("{digits} k1")) && entry.contains(" v0\n"), "{entry}");
    run(&["dump", "--ids", "name", store, "nobody"]).fails(1, &["no such key: nobody"]);
    let entries = run(&["dump", "--json", store]).records();
    assert_eq!(entries.len(), 7);
    for entry in entries {
        let (count, spilled) = (entry["count"].as_u64().unwrap(), entry["spilled"].as_bool());
        assert_eq!(spilled, Some(count > 4), "{entry}");
        let inline = if count > 4 { 0 } else { count as usize };
        assert_eq!(entry["values"].as_array().map(Vec::len), Some(inline), "{entry}");
    }
}

#[test]
fn a_backup_is_a_store_with_the_same_pairs() {
    let folder = Folder::new();
    let store = &loaded(&folder, 300);
    let copy = &folder.text("copy.h5");
    let told = run(&["backup", "--json", store, copy]).record();
    assert_eq!((&told["type"], &told["keys"]), (&json!("backed_up"), &json!(300)));
    assert_eq!(told["bytes"], json!(bytes(copy).len()));
    assert_eq!(run(&["scan", copy]).lines(), run(&["scan", store]).lines());
    run(&["check", copy]).ok();
    let before = bytes(copy);
    run(&["backup", store, copy]).fails(2, &["copy.h5", "exists"]);
    assert_eq!(bytes(copy), before);
}

#[test]
fn a_backup_takes_no_dictionary_s_place() {
    let folder = Folder::new();
    let store = &loaded(&folder, 30);
    let (copy, names) = (&folder.text("copy.h5"), folder.file("copy.h5.names", "somebody's"));
    run(&["backup", store, copy]).fails(2, &["copy.h5.names", "exists"]);
    assert_eq!(bytes(&names), b"somebody's");
    assert!(!folder.path("copy.h5").exists(), "refused before anything is written");
    std::fs::remove_file(&names).unwrap();
    run(&["backup", store, copy]).ok();
    assert_eq!(bytes(&names), bytes(folder.path("s.h5.names")));
}

#[test]
fn commands_that_read_change_no_byte() {
    let folder = Folder::new();
    let store = loaded(&folder, 300);
    let copy = folder.text("copy.h5");
    let content = || ["s.h5", "s.h5-wal", "s.h5.names"].map(|name| bytes(folder.path(name)));
    let before = content();
    for line in [
        &["get", "--ids", "name", store.as_str(), "k1"] as &[&str],
        &["scan", store.as_str()],
        &["stat", store.as_str()],
        &["check", store.as_str()],
        &["dump", store.as_str()],
        &["backup", store.as_str(), copy.as_str()],
    ] {
        run(line).ok();
        assert!(content() == before, "{line:?}");
    }
}

#[test]
fn shells_and_man_get_what_they_want() {
    assert!(run(&["completions", "bash"]).ok().contains("cidstore"));
    assert!(run(&["man"]).ok().contains(".TH cidstore"));
    assert!(run(&["man", "load"]).ok().contains("RFC 4180"));
    // The foot of a page says what it is of.
    let of_load = format!(".TH cidstore-load 1  \"cidstore {}\"", env!("CARGO_PKG_VERSION"));
    assert!(run(&["man", "load"]).ok().contains(&of_load));
    run(&["man", "nothing"]).fails(2, &["no such command: nothing"]);
}
