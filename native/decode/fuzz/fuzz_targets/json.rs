#![no_main]

#[path = "../../tests/fuzz"]
mod fuzz {
    #[allow(dead_code)]
    pub mod allocations;
    #[allow(dead_code)]
    pub mod checks;
    #[allow(dead_code)]
    pub mod targets;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::targets::json(bytes);
});
