//! Tells the linker that Node.js provides the napi symbols.

fn main() {
    napi_build::setup();
}
