//! Exists so that the manifest may have build dependencies.

fn main() {}
