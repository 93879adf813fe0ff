//! Lays a CIDStore file out as HDF5.
