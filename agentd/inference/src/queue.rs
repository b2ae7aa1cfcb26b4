//! Who is next: a bounded queue, first come first served within a class.
//!
//! It is pure: it has no clock and sends nothing; the [engine](crate::engine) that owns it does both.

use std::collections::VecDeque;
use std::time::Instant;

/// Who waits. A person who looks at a screen goes before work that nobody watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Asked on behalf of a person.
    Person,
    /// Asked by a daemon on its own account.
    Background,
}

/// The queue holds as many requests as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A bounded queue of `T`.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    capacity: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: u64,
    class: Class,
    until: Instant,
    job: T,
}

impl<T> Queue<T> {
    /// An empty queue that holds at most `capacity` requests.
    pub fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), capacity }
    }

    /// Take in a request that may wait until the given time; says how many are before it.
    pub fn push(&mut self, ticket: u64, class: Class, until: Instant, job: T) -> Result<usize, Full> {
        if self.waiting.len() >= self.capacity {
            return Err(Full);
        }
        let place = self.waiting.iter().position(|w| w.class > class).unwrap_or(self.waiting.len());
        self.waiting.insert(place, Waiting { ticket, class, until, job });
        Ok(place)
    }

    /// The next request, with its ticket.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.waiting.pop_front().map(|w| (w.ticket, w.job))
    }

    /// Take a request out; nothing happens when it is not there (any more).
    pub fn cancel(&mut self, ticket: u64) {
        self.waiting.retain(|w| w.ticket != ticket);
    }

    /// Take out those whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<u64> {
        let over = self.waiting.iter().filter(|w| w.until <= now).map(|w| w.ticket).collect();
        self.waiting.retain(|w| w.until > now);
        over
    }

    /// Take out all.
    pub fn drain(&mut self) -> Vec<u64> {
        self.waiting.drain(..).map(|w| w.ticket).collect()
    }

    /// When the next request's time is over.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|w| w.until).min()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn people_go_first_and_each_class_keeps_its_order() {
        let mut queue = Queue::new(8);
        for (ticket, class) in
            [(1, Class::Background), (2, Class::Person), (3, Class::Background), (4, Class::Person)]
        {
            queue.push(ticket, class, later(9), ()).expect("room");
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop().map(|(t, ())| t)).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn a_full_queue_refuses_and_a_cancelled_request_makes_room() {
        let mut queue = Queue::new(2);
        assert_eq!(queue.push(1, Class::Person, later(9), ()), Ok(0));
        assert_eq!(queue.push(2, Class::Person, later(9), ()), Ok(1));
        assert_eq!(queue.push(3, Class::Person, later(9), ()), Err(Full));
        queue.cancel(1);
        assert_eq!(queue.push(3, Class::Person, later(9), ()), Ok(1));
    }

    #[test]
    fn a_request_whose_time_is_over_is_taken_out() {
        let mut queue = Queue::new(8);
        let now = Instant::now();
        queue.push(1, Class::Person, now + Duration::from_secs(5), ()).expect("room");
        queue.push(2, Class::Person, now + Duration::from_secs(1), ()).expect("room");
        assert_eq!(queue.next_expiry(), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.expire(now + Duration::from_secs(1)), [2]);
        assert_eq!(queue.pop(), Some((1, ())));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_out_of_order(steps in proptest::collection::vec((0u8..4, any::<bool>()), 0..200)) {
            let now = Instant::now();
            let mut queue = Queue::new(16);
            let (mut next, mut inside, mut last) = (0u64, Vec::new(), [None::<u64>; 2]);
            for (step, person) in steps {
                match step {
                    0 | 1 => {
                        let class = if person { Class::Person } else { Class::Background };
                        match queue.push(next, class, now, class) {
                            Ok(_) => inside.push(next),
                            Err(Full) => prop_assert_eq!(inside.len(), 16),
                        }
                        next += 1;
                    }
                    2 => match queue.pop() {
                        Some((ticket, class)) => {
                            prop_assert!(inside.contains(&ticket));
                            inside.retain(|&t| t != ticket);
                            let last = &mut last[usize::from(class == Class::Person)];
                            prop_assert!(*last < Some(ticket));
                            *last = Some(ticket);
                        }
                        None => prop_assert!(inside.is_empty()),
                    },
                    _ => if let Some(ticket) = inside.pop() {
                        queue.cancel(ticket);
                    },
                }
                prop_assert_eq!(queue.len(), inside.len());
            }
        }
    }
}
