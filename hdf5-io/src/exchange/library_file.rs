//! Files that the library opens, kept from child processes.
//!
//! The library opens files without `O_CLOEXEC`. A child process that was started meanwhile would keep the file open, and with
//! it the library's lock: others would be refused until the child ends. One of the files that may hold `unsafe`: the
//! `hdf5` crate has no call for the descriptor.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::ptr;

use hdf5::{File, FileBuilder, h5check};
use hdf5_sys::h5f::H5Fget_vfd_handle;
use hdf5_sys::h5p::H5P_DEFAULT;
use rustix::io::{FdFlags, fcntl_setfd};

/// Opens a file to read it.
pub(super) fn open(path: &Path) -> hdf5::Result<File> {
    through(File::with_options().with_fapl(|access| access.sec2()), |builder| builder.open(path))
}

/// Creates a file, or makes one anew that is there, as `builder` says.
pub(super) fn create(builder: &mut FileBuilder, path: &Path) -> hdf5::Result<File> {
    through(builder.with_fapl(|access| access.sec2()), |builder| builder.create(path))
}

/// Gets a file of a builder that names the driver for plain descriptors, and lets no child have it. Only a child that is
/// started between the two calls does.
fn through(
    builder: &FileBuilder,
    get: impl FnOnce(&FileBuilder) -> hdf5::Result<File>,
) -> hdf5::Result<File> {
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
    Ok(file)
}
