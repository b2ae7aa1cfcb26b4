//! What we are PID 1 of: a whole machine, or a container on somebody else's.

/// Where this init runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Devices, modules, kernel settings and power are ours.
    Machine,
    /// All of those belong to a machine that goes on without us; only processes and mounts are ours.
    Container,
}

/// `PROC_PID_INIT_INO` of linux/proc_ns.h: the first PID namespace has this number on every kernel.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

impl Place {
    /// Ask `/proc`. Before it is mounted this is a machine: who makes a container mounts it for it.
    pub(crate) fn find() -> Self {
        use std::os::unix::fs::MetadataExt;
        Self::of(std::fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino()).ok())
    }

    fn of(pid_namespace: Option<u64>) -> Self {
        match pid_namespace {
            None | Some(FIRST_PID_NAMESPACE) => Self::Machine,
            Some(_) => Self::Container,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_pid_namespace_than_the_first_is_a_container() {
        assert_eq!(Place::of(None), Place::Machine);
        assert_eq!(Place::of(Some(0xEFFF_FFFC)), Place::Machine);
        assert_eq!(Place::of(Some(0xF000_0001)), Place::Container);
    }
}
