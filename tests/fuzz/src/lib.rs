//! What several targets share.

/// One of the parsers with which PID 1 reads foreign bytes.
pub fn foreign(name: &str) -> fn(&[u8]) {
    let known = aios_init::FOREIGN.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("init has no parser {name}")).1
}

#[doc(hidden)]
pub use arbitrary;
#[cfg(feature = "link")]
pub use libfuzzer_sys::fuzz_target;

/// Without the fuzzer a target is a program that is given files and tries each: seeds, or what a fuzzer found.
#[cfg(not(feature = "link"))]
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: $kind:ty| $body:expr) => {
        fn main() -> std::io::Result<()> {
            let run = |$input: $kind| $body;
            for path in std::env::args_os().skip(1) {
                let bytes = std::fs::read(path)?;
                let given = $crate::arbitrary::Unstructured::new(&bytes);
                if let Ok(input) = $crate::arbitrary::Arbitrary::arbitrary_take_rest(given) {
                    run(input);
                }
            }
            Ok(())
        }
    };
}
