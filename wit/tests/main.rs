//! The boundary against its specification: the shared vectors, and properties over random frames and random damage.

mod properties;
mod vectors;
