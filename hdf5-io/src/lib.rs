//! Lays a CIDStore file out as HDF5.

#[cfg(feature = "libhdf5")]
pub mod exchange;
