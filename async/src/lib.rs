//! The async face of CIDStore.
