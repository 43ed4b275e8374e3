//! The benches are in `benches/`, one file for each native part.
