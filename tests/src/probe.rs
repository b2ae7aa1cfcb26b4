//! What the services of measured supervisors (`src/bin/probe.rs`) tell the measurement.

use rustix::time::Timespec;
use std::time::Duration;

/// Where they send it, as they see it.
pub const REPORTS: &str = "/bench/reports";

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The supervisor's program is about to be executed.
    Executes,
    /// A service's `main` began.
    Began,
    /// The service has told its supervisor that it is ready.
    Ready,
}

/// What one datagram says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What has happened.
    pub kind: Kind,
    /// By CLOCK_MONOTONIC.
    pub at: Duration,
    /// The service.
    pub name: String,
}

impl Report {
    /// The datagram: what, nanoseconds, name.
    pub fn bytes(kind: Kind, at: Timespec, name: &str) -> Vec<u8> {
        let nanoseconds = Duration::try_from(at).map_or(0, |at| at.as_nanos() as u64);
        [&[kind as u8], &nanoseconds.to_ne_bytes()[..], name.as_bytes()].concat()
    }

    /// What a datagram says, if it is one of ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first()?;
        let (nanoseconds, name) = rest.split_first_chunk()?;
        let kind =
            [Kind::Executes, Kind::Began, Kind::Ready].into_iter().find(|kind| *kind as u8 == *head)?;
        let at = Duration::from_nanos(u64::from_ne_bytes(*nanoseconds));
        Some(Self { kind, at, name: String::from_utf8_lossy(name).into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let at = Timespec { tv_sec: 5, tv_nsec: 7 };
        let report = Report { kind: Kind::Ready, at: Duration::new(5, 7), name: "s0001".into() };
        assert_eq!(Report::parse(&Report::bytes(Kind::Ready, at, "s0001")), Some(report));
        assert_eq!(Report::parse(b"\x09"), None);
    }
}
