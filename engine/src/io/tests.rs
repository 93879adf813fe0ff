//! The real disk against the system, the crash model against itself, the faulty disk against its plan.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::*;

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.h5");
    (directory, path)
}

fn create(disk: &dyn Disk, path: &Path) -> Box<dyn DiskFile> {
    disk.open(path, OpenMode::CreateNew).unwrap()
}

fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::Io { source, .. } => source.raw_os_error(),
        _ => None,
    }
}

#[test]
fn creates_private_files_and_never_replaces() {
    let (_directory, path) = directory();
    let file = create(&OsDisk, &path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = OsDisk.open(&path, OpenMode::CreateNew).unwrap_err();
    assert_eq!(errno(&again), Some(libc::EEXIST));
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.raw_fd())).unwrap();
    let flags = about.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert_ne!(i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC, 0);

    let other = path.with_extension("tmp");
    drop(create(&OsDisk, &other));
    let refused = OsDisk.rename_noreplace(&other, &path).unwrap_err();
    assert_eq!(errno(&refused), Some(libc::EEXIST));
    OsDisk.remove(&path).unwrap();
    OsDisk.rename_noreplace(&other, &path).unwrap();
    OsDisk.sync_directory(&path).unwrap();
    assert_eq!(OsDisk.kind(&path).unwrap(), PathKind::File);
    assert_eq!(OsDisk.kind(&other).unwrap(), PathKind::Missing);
}

#[test]
fn refuses_what_is_no_regular_file() {
    let (directory, path) = directory();
    for mode in [OpenMode::ReadOnly, OpenMode::ReadWrite] {
        assert!(matches!(OsDisk.open(&path, mode), Err(Error::NotFound { .. })));
        assert!(matches!(OsDisk.open(directory.path(), mode), Err(Error::NotAStore { .. })));
    }
    assert_eq!(OsDisk.kind(directory.path()).unwrap(), PathKind::Directory);
    drop(create(&OsDisk, &path));
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(OsDisk.open(&link, OpenMode::ReadWrite), Err(Error::NotAStore { .. })));
    assert_eq!(OsDisk.kind(&link).unwrap(), PathKind::Other);
    // A pipe that nobody writes to: opened without waiting, then refused.
    let pipe = directory.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(OsDisk.open(&pipe, OpenMode::ReadOnly), Err(Error::NotAStore { .. })));
}

#[test]
fn reads_writes_and_maps_the_same_bytes() {
    let (_directory, path) = directory();
    let file = create(&OsDisk, &path);
    file.allocate(0, 8192).unwrap();
    assert_eq!(file.len().unwrap(), 8192);
    file.write_at(8000, b"written").unwrap();
    let map = file.map(1 << 20).unwrap();
    let words: Vec<u8> = (0..64).collect();
    assert!(matches!(file.store(&map, 0, &words), Err(Error::Io { .. })), "nothing usable yet");
    map.set_usable(8192);
    file.store(&map, 4096, &words).unwrap();
    file.store(&map, 8128, &words).unwrap();
    for (offset, bytes) in [(8136, &words[..]), (4100, &words[..]), (4096, &words[..63])] {
        assert!(matches!(file.store(&map, offset, bytes), Err(Error::Io { .. })));
    }
    let mut read = [0; 71];
    file.read_at(4096, &mut read).unwrap();
    assert_eq!(read[..64], words[..]);
    file.read_at(8000, &mut read[..7]).unwrap();
    assert_eq!(&read[..7], b"written");
    let beyond = file.read_at(8190, &mut read).unwrap_err();
    let Error::Io { source, .. } = beyond else { panic!("{beyond}") };
    assert_eq!(source.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn space_that_cannot_be_had_is_no_space_and_changes_nothing() {
    let (_directory, path) = directory();
    let file = create(&OsDisk, &path);
    file.write_at(0, b"here").unwrap();
    for bytes in [1 << 60, u64::MAX] {
        let refused = file.allocate(4096, bytes).unwrap_err();
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    }
    assert_eq!(file.len().unwrap(), 4);
}

#[test]
fn locks_exclude_each_other_and_name_the_holder() {
    let (_directory, path) = directory();
    let first = create(&OsDisk, &path);
    let open = |mode| OsDisk.open(&path, mode).unwrap();
    let locked_by = |file: &dyn DiskFile, mode| match file.lock(mode) {
        Err(Error::Locked { pid, .. }) => pid,
        other => panic!("{other:?}"),
    };
    let me = Some(std::process::id());
    first.lock(LockMode::Exclusive).unwrap();
    assert_eq!(locked_by(&*open(OpenMode::ReadWrite), LockMode::Exclusive), me);
    assert_eq!(locked_by(&*open(OpenMode::ReadOnly), LockMode::Shared), me);
    drop(first);

    let (one, two) = (open(OpenMode::ReadOnly), open(OpenMode::ReadOnly));
    one.lock(LockMode::Shared).unwrap();
    two.lock(LockMode::Shared).unwrap();
    assert_eq!(locked_by(&*open(OpenMode::ReadWrite), LockMode::Exclusive), me);
    drop((one, two));
    open(OpenMode::ReadWrite).lock(LockMode::Exclusive).unwrap();
}

/// Not a test of its own: what the child of the next one runs.
#[test]
#[ignore = "run as a child process"]
fn child_holds_the_lock_until_its_input_ends() {
    let path = std::env::var_os("CIDSTORE_TEST_LOCK").unwrap();
    let file = OsDisk.open(Path::new(&path), OpenMode::ReadWrite).unwrap();
    file.lock(LockMode::Exclusive).unwrap();
    fs::write(Path::new(&path).with_extension("held"), "").unwrap();
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}

#[test]
fn a_lock_of_another_process_is_seen_and_dies_with_it() {
    let (_directory, path) = directory();
    let file = create(&OsDisk, &path);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "io::tests::child_holds_the_lock_until_its_input_ends", "--ignored"])
        .env("CIDSTORE_TEST_LOCK", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !path.with_extension("held").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    match file.lock(LockMode::Exclusive) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(child.id())),
        other => panic!("{other:?}"),
    }
    child.kill().unwrap();
    child.wait().unwrap();
    file.lock(LockMode::Exclusive).unwrap();
}

#[test]
fn an_exclusive_flock_of_an_hdf5_writer_keeps_us_out() {
    let (_directory, path) = directory();
    let ours = create(&OsDisk, &path);
    let theirs = fs::File::open(&path).unwrap();
    theirs.try_lock().unwrap();
    assert!(matches!(ours.lock(LockMode::Exclusive), Err(Error::Locked { pid: None, .. })));
    theirs.unlock().unwrap();
    ours.lock(LockMode::Exclusive).unwrap();
    theirs.try_lock_shared().unwrap();
    theirs.unlock().unwrap();
    assert!(theirs.try_lock().is_err(), "who opens for writing with libhdf5 is refused");
}

#[test]
fn random_bytes_differ() {
    let (mut one, mut two) = ([0_u8; 300], [0_u8; 300]);
    OsDisk.random(&mut one).unwrap();
    OsDisk.random(&mut two).unwrap();
    assert_ne!(one, two);
    assert!(one[292..] != [0; 8]);
}

fn recorder() -> (tempfile::TempDir, PathBuf, RecordingDisk) {
    let (directory, path) = directory();
    (directory, path, RecordingDisk::new(Arc::new(OsDisk)))
}

#[test]
fn latest_image_is_what_the_files_hold() {
    let (directory, path, disk) = recorder();
    fs::write(path.with_extension("old"), b"was here before").unwrap();
    let old = disk.open(&path.with_extension("old"), OpenMode::ReadWrite).unwrap();
    old.write_at(4, b"different").unwrap();
    let file = create(&disk, &path.with_extension("tmp"));
    file.allocate(0, 4096).unwrap();
    file.write_at(500, &[7; 1000]).unwrap();
    file.set_len(1200).unwrap();
    file.set_len(2000).unwrap();
    let map = file.map(4096).unwrap();
    map.set_usable(2000);
    file.store(&map, 1984, &[9; 16]).unwrap();
    disk.rename_noreplace(&path.with_extension("tmp"), &path).unwrap();

    let image = CrashModel::after(&disk.operations()).image_of_latest();
    assert_eq!(image.files.len(), 2);
    for (path, content) in &image.files {
        assert_eq!(&fs::read(path).unwrap(), content, "{}", path.display());
    }
    let copy = tempfile::tempdir().unwrap();
    image.write_to(directory.path(), copy.path()).unwrap();
    assert_eq!(fs::read(copy.path().join("store.h5")).unwrap(), image.files[&path]);
}

#[test]
fn only_what_was_synced_is_sure() {
    let (_directory, path, disk) = recorder();
    let file = create(&disk, &path);
    file.write_at(0, &[1; 1024]).unwrap();
    let durable = || CrashModel::after(&disk.operations()).image_of_durable();
    assert!(durable().files.is_empty(), "the name is not durable");
    disk.sync_directory(&path).unwrap();
    assert_eq!(durable().files[&path], b"", "the content is not durable");
    file.sync_data().unwrap();
    assert_eq!(durable().files[&path], [1; 1024]);
    file.write_at(512, &[2; 512]).unwrap();
    file.write_at(512, &[3; 512]).unwrap();
    disk.remove(&path).unwrap();

    let model = CrashModel::after(&disk.operations());
    let mut seen = Vec::new();
    for version in 0..3 {
        let image = model.image(&mut |choice, later| match choice {
            Choice::Name { .. } => 0,
            Choice::Length { .. } => panic!("the length is durable"),
            Choice::Sector { sector, .. } => {
                assert_eq!((sector, later), (1, 2), "only the sector that was written again");
                version
            }
        });
        seen.push(image.files[&path][512]);
        assert_eq!(image.files[&path][..512], [1; 512]);
    }
    assert_eq!(seen, [1, 2, 3]);
    assert!(model.image_of_latest().files.is_empty());
}

#[test]
fn a_sync_covers_only_what_was_written_before_it_began() {
    let (file, path) = (FileId(0), PathBuf::from("/x/file"));
    let write = |byte| {
        let bytes = Arc::from([byte; 512]);
        Operation::Write { file, offset: 0, bytes, mapped: false }
    };
    let create = Operation::Create { file, path: path.clone() };
    let names = Operation::SyncDirectory { directory: "/x".into(), covers: 1 };
    // The second write came while the sync, which saw two operations and a half, was under way.
    let sync = Operation::Sync { file, covers: 3 };
    let model = CrashModel::after(&[create, names, write(1), write(2), sync]);
    assert_eq!(model.image_of_durable().files[&path], [1; 512]);
    assert_eq!(model.image_of_latest().files[&path], [2; 512]);
}

#[test]
fn a_mapped_store_may_be_caught_half_done() {
    let (_directory, path, disk) = recorder();
    let file = create(&disk, &path);
    file.write_at(0, &[0; 512]).unwrap();
    file.sync_all().unwrap();
    disk.sync_directory(&path).unwrap();
    let map = file.map(512).unwrap();
    map.set_usable(512);
    file.store(&map, 64, &[5; 64]).unwrap();
    let image = CrashModel::after(&disk.operations()).image(&mut |_, later| later.min(1));
    assert_eq!(image.files[&path][64..96], [5; 32]);
    assert_eq!(image.files[&path][96..128], [0; 32]);
}

#[test]
fn faults_strike_where_they_are_told_to() {
    let (_directory, path) = directory();
    let disk = FaultyDisk::new(Arc::new(OsDisk));
    let file = create(&disk, &path);
    disk.inject(Fault::new(libc::EIO).kind(OperationKind::Write).after(1).once().torn());
    file.write_at(0, b"first").unwrap();
    assert_eq!(errno(&file.write_at(0, b"SECOND").unwrap_err()), Some(libc::EIO));
    assert_eq!(fs::read(&path).unwrap(), b"SECst");
    file.write_at(0, b"third").unwrap();
    assert_eq!(disk.count(OperationKind::Write), 3);

    disk.inject(Fault::new(libc::ENOSPC).path(&path));
    assert!(matches!(file.allocate(0, 10), Err(Error::NoSpace { .. })));
    assert_eq!(errno(&file.sync_data().unwrap_err()), Some(libc::ENOSPC));
    let other = create(&disk, &path.with_extension("other"));
    other.write_at(0, b"another path").unwrap();
    let mut read = [0; 5];
    file.read_at(0, &mut read).unwrap();
    assert_eq!(disk.change_count(), 6);
    disk.heal();
    file.sync_all().unwrap();
}
