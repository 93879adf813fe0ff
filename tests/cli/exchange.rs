//! `export` and `import`.

use crate::harness::{Folder, run, tsv};

fn loaded(folder: &Folder) -> String {
    let (input, store) = (folder.file("in.tsv", tsv(300)), folder.text("s.h5"));
    run(&["load", "--ids", "name", &store, &input]).ok();
    store
}

#[cfg(not(feature = "libhdf5"))]
#[test]
fn a_build_without_the_library_says_which_has_it() {
    let folder = Folder::new();
    let store = &loaded(&folder);
    let other = &folder.text("other.h5");
    for line in [["export", store, other], ["import", store, other]] {
        run(&line).fails(2, &["without the HDF5 library", "--features libhdf5"]);
    }
    assert!(!folder.path("other.h5").exists());
}

#[cfg(feature = "libhdf5")]
mod with_library {
    use serde_json::json;

    use super::*;
    use crate::harness::bytes;

    #[test]
    fn an_export_is_read_in_place_and_imported_with_its_names() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let scan = run(&["scan", store]).lines();
        let plain = &folder.text("plain.h5");
        let told = run(&["export", "--json", store, plain]).record();
        assert_eq!((&told["type"], &told["keys"]), (&json!("exported"), &json!(300)));
        assert_eq!(told["bytes"], json!(bytes(plain).len()));
        let before = bytes(plain);
        assert_eq!(run(&["scan", plain]).lines(), scan);
        run(&["check", plain]).ok();
        assert!(bytes(plain) == before && !folder.path("plain.h5-wal").exists());

        run(&["export", store, plain]).fails(2, &["plain.h5", "exists"]);
        run(&["export", "--force", "--compress", "gzip", store, plain]).ok();
        assert!(bytes(plain).len() < before.len());
        let copy = &folder.text("copy.h5");
        let told = run(&["import", "--json", plain, copy]).record();
        assert_eq!((&told["type"], &told["pairs"]), (&json!("imported"), &json!(scan.len())));
        assert_eq!(run(&["scan", copy]).lines(), scan);

        let again = run(&["import", "--json", plain, copy]).record();
        assert_eq!((&again["new_pairs"], &again["pairs"]), (&json!(0), &told["pairs"]));
        run(&["import", "--keep-seed", plain, copy]).fails(2, &["copy.h5", "seed"]);
    }

    #[test]
    fn the_seed_is_kept_on_request_only() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let [first, kept, fresh] =
            ["first.h5", "kept.h5", "fresh.h5"].map(|name| folder.text(name));
        run(&["export", store, &first]).ok();
        run(&["import", "--keep-seed", &first, &kept]).ok();
        run(&["import", &first, &fresh]).ok();
        // The order of a scan is that of the hash; that of an export follows from the seed and the content alone.
        let order = |store: &str| {
            let exported = folder.text("out.h5");
            run(&["export", "--force", store, &exported]).ok();
            run(&["scan", "--keys", &exported]).ok()
        };
        let first_order = order(store);
        assert_eq!(run(&["scan", "--keys", &first]).ok(), first_order);
        assert_eq!(order(&kept), first_order);
        assert_ne!(order(&fresh), first_order);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_the_promised_codes() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let text = &folder.file("text.h5", "no HDF5");
        let new = &folder.text("new.h5");
        run(&["import", text, new]).fails(3, &["text.h5", "neither a CIDStore file"]);
        run(&["import", &folder.text("nowhere.h5"), new]).fails(5, &["nowhere.h5"]);
        run(&["export", &folder.text("nowhere.h5"), new]).fails(5, &["nowhere.h5"]);
        let cut = bytes(store);
        let cut = &folder.file("cut.h5", &cut[..cut.len() / 2]);
        run(&["import", cut, new]).fails(3, &["cut.h5"]);
        run(&["import", text, store]).fails(3, &["text.h5"]);
        run(&["check", store]).ok();
        assert!(!folder.names().iter().any(|name| name.contains("new") || name.contains(".tmp")));
    }
}
