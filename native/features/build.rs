//! Exists so that the manifest may have build dependencies.

fn main() {
    // Without this it runs again wherever the checkout is another folder, and all crates after it.
    println!("cargo::rerun-if-changed=build.rs");
}
