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
        run(&line)
            .fails(2, &["without the HDF5 library", "cargo build --release --features libhdf5"]);
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
    fn no_dictionary_is_replaced_but_by_force() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let [plain, copy] = &["plain.h5", "copy.h5"].map(|name| folder.text(name));
        let names = folder.file("plain.h5.names", "somebody's");
        run(&["export", store, plain]).fails(2, &["plain.h5.names", "exists"]);
        assert!(!folder.path("plain.h5").exists() && bytes(&names) == b"somebody's");
        run(&["export", "--force", store, plain]).ok();
        assert_eq!(bytes(&names), bytes(folder.path("s.h5.names")));
        let names = folder.file("copy.h5.names", "somebody's");
        run(&["import", plain, copy]).fails(2, &["copy.h5.names", "exists"]);
        assert!(!folder.path("copy.h5").exists() && bytes(&names) == b"somebody's");
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

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let [pipe, directory, new] = ["pipe", "directory", "new.h5"].map(|name| folder.text(name));
        std::fs::create_dir(&directory).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        run(&["import", &pipe, &new]).fails(3, &["pipe", "not a regular file"]);
        run(&["import", &directory, &new]).fails(3, &["directory", "not a regular file"]);
        run(&["export", "--force", store, &directory]).fails(5, &["directory", "is a directory"]);
        let away = run(&["export", store, &folder.text("away/new.h5")]);
        away.fails(5, &["away/new.h5: create: No such file or directory"]);
        assert_eq!(
            folder.names(),
            ["directory", "in.tsv", "pipe", "s.h5", "s.h5-wal", "s.h5.names"]
        );
    }

    #[test]
    fn an_export_is_not_imported_into_itself() {
        let folder = Folder::new();
        let store = &loaded(&folder);
        let plain = &folder.text("plain.h5");
        run(&["export", store, plain]).ok();
        let before = bytes(plain);
        let again = format!("{}/./plain.h5", folder.text(""));
        run(&["import", plain, &again]).fails(2, &["plain.h5", "into itself"]);
        run(&["import", store, store]).fails(2, &["s.h5", "into itself"]);
        assert!(bytes(plain) == before && !folder.path("plain.h5-wal").exists());
    }

    /// A file system with room for a store's log and not for much more; unmounted when dropped.
    struct SmallDisk(Folder);

    impl SmallDisk {
        /// `None` where mounting is not permitted, with the reason printed.
        fn mount() -> Option<Self> {
            use std::io::Write;
            let disk = Self(Folder::new());
            let (flags, size) = (rustix::mount::MountFlags::empty(), c"size=1536k");
            match rustix::mount::mount("none", disk.0.path(""), "tmpfs", flags, Some(size)) {
                Ok(()) => Some(disk),
                Err(error) => {
                    let mut out = std::io::stderr();
                    writeln!(out, "skipped: no small disk, mount says {error}").unwrap();
                    std::mem::forget(disk);
                    None
                }
            }
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            rustix::mount::unmount(self.0.path(""), rustix::mount::UnmountFlags::DETACH).unwrap();
        }
    }

    #[test]
    fn a_full_disk_is_told_by_the_name_of_the_destination_and_stays_empty() {
        let folder = Folder::new();
        let (input, store) = (folder.file("in.tsv", tsv(40_000)), folder.text("s.h5"));
        run(&["load", "--ids", "name", &store, &input]).ok();
        let [plain, packed] = ["plain.h5", "packed.h5"].map(|name| folder.text(name));
        run(&["export", &store, &plain]).ok();
        run(&["export", "--compress", "lzf", &store, &packed]).ok();
        let Some(disk) = SmallDisk::mount() else { return };
        let new = &disk.0.text("new.h5");
        for line in [
            &["export", &store, new][..],
            &["export", "--compress", "gzip", &store, new],
            &["import", &plain, new],
            &["import", &packed, new],
        ] {
            run(line).fails(5, &[&format!("{new}: "), "No space left on device"]);
            assert_eq!(disk.0.names(), [""; 0], "after {line:?}");
        }
    }
}
