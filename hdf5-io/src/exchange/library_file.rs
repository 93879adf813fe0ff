//! Files that the library opens, whose locks child processes do not keep.
//!
//! The library opens files without `O_CLOEXEC` and lets go of its lock by closing the file. A child process that was started
//! meanwhile would keep the file open, and with it the lock: others would be refused until the child ends. And even where the
//! descriptor is closed on exec, the kernel lets the parent go on shortly before it closes the child's. So the lock is given
//! back for all who have the file open, once the library has closed it. One of the files that may hold `unsafe`: the `hdf5`
//! crate has no call for the descriptor.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;

use hdf5::{File, FileBuilder, h5check};
use hdf5_sys::h5f::H5Fget_vfd_handle;
use hdf5_sys::h5p::H5P_DEFAULT;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// A file that the library has open.
#[derive(Debug)]
pub(super) struct LibraryFile {
    // Dropped in this order.
    file: File,
    lock: Lock,
}

/// The lock of a file, by another descriptor of the same opening. Dropping it gives the lock back.
#[derive(Debug)]
struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::NonBlockingUnlock) {
            tracing::warn!(%error, "giving back the lock of an HDF5 file");
        }
    }
}

impl Deref for LibraryFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl LibraryFile {
    /// Closes the file, with what the library has to say of it. Dropping does so in silence.
    pub(super) fn close(self) -> hdf5::Result<()> {
        let Self { file, lock } = self;
        let closed = file.close();
        drop(lock);
        closed
    }
}

/// Opens a file to read it.
pub(super) fn open(path: &Path) -> hdf5::Result<LibraryFile> {
    through(File::with_options().with_fapl(|access| access.sec2()), |builder| builder.open(path))
}

/// Creates a file, or makes one anew that is there, as `builder` says.
pub(super) fn create(builder: &mut FileBuilder, path: &Path) -> hdf5::Result<LibraryFile> {
    through(builder.with_fapl(|access| access.sec2()), |builder| builder.create(path))
}

/// Gets a file of a builder that names the driver for plain descriptors. Only a child that is started before the call at the
/// end keeps the file itself.
fn through(
    builder: &FileBuilder,
    get: impl FnOnce(&FileBuilder) -> hdf5::Result<File>,
) -> hdf5::Result<LibraryFile> {
    let file = get(builder)?;
    let mut handle: *mut c_void = ptr::null_mut();
    // SAFETY: the file is open, and the default property list is always there; `handle` outlives the call. The library's
    // lock is held.
    let status =
        hdf5::sync::sync(|| unsafe { H5Fget_vfd_handle(file.id(), H5P_DEFAULT, &raw mut handle) });
    h5check(status)?;
    let handle = handle.cast::<c_int>();
    if handle.is_null() {
        return Err("the library names no descriptor".into());
    }
    // SAFETY: this driver answers with the address of its descriptor, an int that lives as long as the file is open.
    let descriptor = unsafe { handle.read() };
    // SAFETY: the descriptor is open as long as `file` is, which outlives the borrow.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl_setfd(descriptor, FdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    let lock = fcntl_dupfd_cloexec(descriptor, 0).map_err(|error| error.to_string())?;
    Ok(LibraryFile { file, lock: Lock(lock) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// True if nobody but us may write to the file.
    fn is_locked(path: &Path) -> bool {
        std::fs::File::open(path).unwrap().try_lock().is_err()
    }

    #[test]
    fn whoever_keeps_the_descriptor_keeps_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let created = create(&mut File::with_options(), &path).unwrap();
        // What a child has that was started meanwhile.
        let kept = created.lock.0.try_clone().unwrap();
        assert!(is_locked(&path));
        created.close().unwrap();
        assert!(!is_locked(&path));
        let opened = open(&path).unwrap();
        let kept_too = opened.lock.0.try_clone().unwrap();
        assert!(is_locked(&path));
        drop(opened);
        assert!(!is_locked(&path));
        drop((kept, kept_too));
    }
}
