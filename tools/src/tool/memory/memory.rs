//! What the tools of the machine's resources share: pressure (PSI).

use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// How much of the time work waited for something, in percent of the last 10 and 60 seconds
/// (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Pressure {
    /// Some tasks waited, last 10 seconds.
    pub(crate) some_10s: f32,
    /// Some tasks waited, last 60 seconds.
    pub(crate) some_60s: f32,
    /// All tasks waited, last 10 seconds.
    pub(crate) full_10s: f32,
    /// All tasks waited, last 60 seconds.
    pub(crate) full_60s: f32,
}

/// Pressure on `cpu`, `memory` or `io`; nothing where the kernel does not measure it.
pub(crate) fn pressure(of: &str) -> Option<Pressure> {
    pressure_in(Path::new("/proc/pressure").join(of))
}

/// Pressure as this file has it.
pub(crate) fn pressure_in(file: impl AsRef<Path>) -> Option<Pressure> {
    parse(&std::fs::read_to_string(file).ok()?)
}

fn parse(text: &str) -> Option<Pressure> {
    let value = |line: &str, name: &str| -> Option<f32> {
        let line = text.lines().find(|l| l.split_whitespace().next() == Some(line))?;
        line.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some(Pressure {
        some_10s: value("some", "avg10")?,
        some_60s: value("some", "avg60")?,
        // Older kernels have no `full` line for the processor.
        full_10s: value("full", "avg10").unwrap_or(0.0),
        full_60s: value("full", "avg60").unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_as_the_kernel_writes_it() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=1\n";
        let pressure = parse(text).expect("is well-formed");
        assert_eq!((pressure.some_10s, pressure.some_60s, pressure.full_10s), (1.5, 0.25, 0.5));
        assert_eq!(parse(""), None);
        assert!(parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").is_some());
    }
}
