//! How many threads compute: as many as there are processors while they are free, and one when they are not.
//!
//! The threads of llama.cpp wait for each other many times in a token, and spin while they do. Where another program takes one
//! of their processors, the others spin until it gives it back: two threads on two busy processors are twenty times slower
//! than one. So one thread computes as soon as threads wait for a processor, which the kernel counts (schedstat, in
//! proc_pid_schedstat of the kernel's `Documentation/scheduler/sched-stats.rst`), and several again when enough processors
//! have been idle for a while (`/proc/stat`, proc_stat(5)).

use std::time::{Duration, Instant};

/// A judgement needs so much time.
const WINDOW: Duration = Duration::from_millis(300);
/// And so much to trust in quiet.
const QUIET: Duration = Duration::from_secs(3);
/// Share of their time that threads may wait for a processor.
const WAITING: f64 = 0.05;
/// Processors that may be busy with something else before several threads compute.
const BUSY: f64 = 0.25;

/// What the kernel counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counted {
    at: Instant,
    /// Time for which threads of this process waited for a processor.
    waited: Duration,
    /// Time for which they ran.
    ran: Duration,
    /// Time for which processors were idle, all together.
    idle: Duration,
}

/// Decides how many threads compute.
#[derive(Debug)]
pub(crate) struct Pace {
    most: u32,
    threads: u32,
    since: Option<Counted>,
}

impl Pace {
    /// Up to so many threads, if they are free; it begins with one when they have to be found free first.
    pub(crate) fn new(most: u32, is_fixed: bool) -> Self {
        let most = most.max(1);
        match is_fixed {
            true => Self { most: 1, threads: most, since: None },
            false => Self { most, threads: most, since: None },
        }
    }

    /// Threads that compute now.
    pub(crate) fn threads(&self) -> u32 {
        self.threads
    }

    /// After a step of computing; another number of threads, if it shall change.
    pub(crate) fn step(&mut self) -> Option<u32> {
        if self.most == 1 {
            return None;
        }
        let now = Instant::now();
        if self.since.is_some_and(|since| now.duration_since(since.at) < WINDOW) {
            return None;
        }
        self.judge(count(now)?)
    }

    /// Nothing is to be computed: what happens until the next step says nothing of it.
    pub(crate) fn rest(&mut self) {
        if self.threads > 1 {
            self.since = None;
        }
    }

    fn judge(&mut self, now: Counted) -> Option<u32> {
        let Some(since) = self.since else {
            self.since = Some(now);
            return None;
        };
        let elapsed = now.at.saturating_duration_since(since.at).as_secs_f64();
        let part = |now: Duration, since: Duration| now.saturating_sub(since).as_secs_f64() / elapsed;
        let wanted = if self.threads > 1 {
            let waiting = part(now.waited, since.waited) / f64::from(self.threads);
            self.since = Some(now);
            if waiting > WAITING { 1 } else { self.threads }
        } else if now.at.saturating_duration_since(since.at) >= QUIET {
            let free = part(now.idle, since.idle) + part(now.ran, since.ran);
            self.since = Some(now);
            if free >= f64::from(self.most) - BUSY { self.most } else { 1 }
        } else {
            self.threads
        };
        (wanted != self.threads).then(|| {
            self.threads = wanted;
            self.since = None;
            wanted
        })
    }
}

/// Processors that compute without sharing a core.
pub(crate) fn cores() -> u32 {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let number = |name: &str| {
        let line = about.lines().find(|line| line.starts_with(name))?;
        line.rsplit(':').next()?.trim().parse::<usize>().ok().filter(|number| *number > 0)
    };
    let cores = match (number("siblings"), number("cpu cores")) {
        (Some(siblings), Some(cores)) if cores <= siblings => (all * cores).div_ceil(siblings),
        _ => all,
    };
    u32::try_from(cores).unwrap_or(1).max(1)
}

fn count(at: Instant) -> Option<Counted> {
    let (mut ran, mut waited) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // A thread may end meanwhile.
        let Ok(line) = std::fs::read_to_string(task.path().join("schedstat")) else { continue };
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        ran += numbers.next()?;
        waited += numbers.next()?;
    }
    let idle = idle(&std::fs::read_to_string("/proc/stat").ok()?)?;
    Some(Counted { at, waited: Duration::from_nanos(waited), ran: Duration::from_nanos(ran), idle })
}

/// The idle time of all processors in `/proc/stat`.
fn idle(stat: &str) -> Option<Duration> {
    /// Linux tells it in hundredths of a second on every architecture (`USER_HZ`).
    const TICK: Duration = Duration::from_millis(10);
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().nth(3)?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in which time passes as it is told.
    struct Machine {
        pace: Pace,
        now: Counted,
    }

    impl Machine {
        fn new(most: u32) -> Self {
            let zero = Duration::ZERO;
            let now = Counted { at: Instant::now(), waited: zero, ran: zero, idle: zero };
            let mut machine = Self { pace: Pace::new(most, false), now };
            machine.pass(0.0, 0.0, 0.0, 0.0);
            machine
        }

        /// So many seconds pass, in which threads waited and ran, and processors were idle, for so many seconds.
        fn pass(&mut self, seconds: f64, waited: f64, ran: f64, idle: f64) -> Option<u32> {
            let add = Duration::from_secs_f64;
            self.now = Counted {
                at: self.now.at + add(seconds),
                waited: self.now.waited + add(waited),
                ran: self.now.ran + add(ran),
                idle: self.now.idle + add(idle),
            };
            self.pace.judge(self.now)
        }
    }

    #[test]
    fn threads_that_wait_become_one_and_quiet_makes_them_several_again() {
        let mut machine = Machine::new(2);
        assert_eq!(machine.pass(0.3, 0.01, 0.59, 0.0), None, "a little waiting is nothing");
        assert_eq!(machine.pass(0.3, 0.25, 0.35, 0.0), Some(1));
        assert_eq!(machine.pass(0.0, 0.0, 0.0, 0.0), None);
        assert_eq!(machine.pass(2.0, 0.0, 2.0, 2.0), None, "that is not long enough");
        assert_eq!(machine.pass(2.0, 0.0, 2.0, 0.0), None, "half of the time the other one was busy");
        assert_eq!(machine.pass(3.5, 0.0, 3.5, 3.3), Some(2));
    }

    #[test]
    fn rest_says_nothing_and_a_fixed_number_stays() {
        let mut machine = Machine::new(4);
        machine.pace.rest();
        assert_eq!(machine.pass(9.0, 9.0, 0.0, 0.0), None, "what was before the rest does not count");
        let mut fixed = Pace::new(3, true);
        assert_eq!((fixed.threads(), fixed.step()), (3, None));
        // While one thread rests others may be busy: that counts.
        let mut machine = Machine::new(4);
        assert_eq!(machine.pass(1.0, 1.0, 3.0, 0.0), Some(1));
        machine.pass(0.0, 0.0, 0.0, 0.0);
        machine.pace.rest();
        assert_eq!(machine.pass(60.0, 0.0, 0.0, 239.0), Some(4));
    }

    #[test]
    fn what_the_kernel_counts_is_read() {
        assert_eq!(idle("cpu  10 0 5 250 7 0 0 0 0 0\ncpu0 1 2"), Some(Duration::from_millis(2500)));
        assert_eq!(idle("intr 5"), None);
        assert!(cores() >= 1);
        let before = count(Instant::now()).expect("is counted");
        let after = count(Instant::now()).expect("is counted");
        assert!(after.ran >= before.ran && after.idle >= before.idle);
    }
}
