//! Who is next: a bounded queue, by class, and fair between the callers of a class.
//!
//! Within a class the callers take turns by start-time fair queueing (Goyal, Vin and Cheng, 1996): each request gets a
//! start on a virtual clock, not before the end of its caller's last one, and the earliest start is next. So who asks a
//! lot waits for himself, and who asks little goes between. It is pure: it has no clock and sends nothing; the
//! [engine](crate::engine) that owns it does both.

use std::collections::HashMap;
use std::time::Instant;

/// Who waits, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Asked because something is wrong with the machine.
    Incident,
    /// Asked on behalf of a person, who looks at a screen.
    Person,
    /// Asked by a daemon on its own account; nobody watches.
    Background,
}

impl Class {
    /// How many of so many places may be taken when a request of this class begins: of four and more one is kept for
    /// incidents, and one for people.
    pub fn places(self, all: usize) -> usize {
        match self {
            Self::Person if all >= 4 => all - 1,
            Self::Background if all >= 4 => all - 2,
            _ => all,
        }
    }
}

/// On whose account a request runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// User id of the process that asks.
    pub uid: u32,
    /// The person for whom it asks.
    pub person: Option<String>,
}

/// How a request is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// How urgent it is.
    pub class: Class,
    /// For whom.
    pub caller: Caller,
    /// When its answer is worth nothing any more.
    pub until: Instant,
    /// How much work it is, in tokens or about as much.
    pub weight: u32,
}

/// Why a request is not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The queue holds as many requests as it may.
    All,
    /// As many requests of this caller wait as may.
    Caller(usize),
}

/// A place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Requests before it.
    pub ahead: usize,
    /// A less urgent request that had to leave for it.
    pub displaced: Option<u64>,
}

/// A bounded queue of `T`.
#[derive(Debug)]
pub struct Queue<T> {
    /// In the order in which they are next.
    waiting: Vec<Waiting<T>>,
    capacity: usize,
    /// The virtual clock: the start of what was taken out last.
    now: u64,
    /// Where the last request of a caller ends on the virtual clock, while that is to come.
    ends: HashMap<Caller, u64>,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: u64,
    order: Order,
    start: u64,
    job: T,
}

impl<T> Queue<T> {
    /// An empty queue that holds at most `capacity` requests, and half as many of one caller.
    pub fn new(capacity: usize) -> Self {
        Self { waiting: Vec::new(), capacity, now: 0, ends: HashMap::new() }
    }

    /// Take in a request. A full queue makes room for it if something less urgent waits.
    ///
    /// # Errors
    /// No room for it, or for its caller.
    pub fn push(&mut self, ticket: u64, order: Order, job: T) -> Result<Place, Full> {
        let own = self.waiting.iter().filter(|w| w.order.caller == order.caller).count();
        let most = (self.capacity / 2).max(1);
        if own >= most {
            return Err(Full::Caller(most));
        }
        let mut displaced = None;
        if self.waiting.len() >= self.capacity {
            let last = self.waiting.last().filter(|last| last.order.class > order.class).ok_or(Full::All)?;
            displaced = Some(last.ticket);
            self.waiting.pop();
        }
        let start = self.ends.get(&order.caller).copied().unwrap_or(0).max(self.now);
        self.ends.insert(order.caller.clone(), start + u64::from(order.weight.max(1)));
        let key = (order.class, start);
        let ahead = self.waiting.partition_point(|w| (w.order.class, w.start) <= key);
        self.waiting.insert(ahead, Waiting { ticket, order, start, job });
        Ok(Place { ahead, displaced })
    }

    /// The next request of a class that may run now, with its ticket.
    pub fn pop(&mut self, may_run: impl Fn(Class) -> bool) -> Option<(u64, Order, T)> {
        let index = self.waiting.iter().position(|w| may_run(w.order.class))?;
        let Waiting { ticket, order, start, job } = self.waiting.remove(index);
        self.now = self.now.max(start);
        match self.waiting.is_empty() {
            // Who asks into an empty queue takes nothing from anybody.
            true => self.ends.clear(),
            false => self.ends.retain(|_, end| *end > self.now),
        }
        Some((ticket, order, job))
    }

    /// Take a request out; nothing happens when it is not there (any more).
    pub fn cancel(&mut self, ticket: u64) {
        self.waiting.retain(|w| w.ticket != ticket);
    }

    /// Take out those whose time is over.
    pub fn expire(&mut self, now: Instant) -> Vec<u64> {
        let over = self.waiting.iter().filter(|w| w.order.until <= now).map(|w| w.ticket).collect();
        self.waiting.retain(|w| w.order.until > now);
        over
    }

    /// Take out all.
    pub fn clear(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.waiting).into_iter().map(|w| w.ticket).collect()
    }

    /// When the next request's time is over.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.waiting.iter().map(|w| w.order.until).min()
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

    const CLASSES: [Class; 3] = [Class::Incident, Class::Person, Class::Background];

    fn order(class: Class, person: &str, weight: u32) -> Order {
        let caller = Caller { uid: 7, person: Some(person.into()) };
        Order { class, caller, until: Instant::now() + Duration::from_secs(9), weight }
    }

    fn tickets(queue: &mut Queue<()>) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop(|_| true).map(|(ticket, ..)| ticket)).collect()
    }

    #[test]
    fn incidents_go_before_people_and_people_before_the_rest() {
        let mut queue = Queue::new(8);
        for (ticket, class) in [(1, 2), (2, 1), (3, 2), (4, 1), (5, 0)] {
            queue.push(ticket, order(CLASSES[class], &ticket.to_string(), 1), ()).expect("room");
        }
        assert_eq!(tickets(&mut queue), [5, 2, 4, 1, 3]);
    }

    #[test]
    fn who_asks_a_lot_waits_for_himself() {
        let mut queue = Queue::new(16);
        for ticket in 1..=4 {
            queue.push(ticket, order(Class::Person, "a", 100), ()).expect("room");
        }
        queue.push(5, order(Class::Person, "b", 10), ()).expect("room");
        queue.push(6, order(Class::Person, "b", 10), ()).expect("room");
        assert_eq!(tickets(&mut queue), [1, 5, 6, 2, 3, 4]);
        // What is over gives nobody an advantage later.
        queue.push(7, order(Class::Person, "b", 10), ()).expect("room");
        queue.push(8, order(Class::Person, "c", 10), ()).expect("room");
        assert_eq!(tickets(&mut queue), [7, 8]);
        assert!(queue.ends.is_empty());
    }

    #[test]
    fn a_full_queue_refuses_but_for_something_more_urgent() {
        let mut queue = Queue::new(4);
        for ticket in 1..=4 {
            let person = if ticket <= 2 { "a" } else { "b" };
            assert!(queue.push(ticket, order(Class::Background, person, 1), ()).is_ok());
        }
        assert_eq!(queue.push(5, order(Class::Background, "c", 1), ()), Err(Full::All));
        assert_eq!(queue.push(5, order(Class::Incident, "a", 1), ()), Err(Full::Caller(2)));
        let place = queue.push(5, order(Class::Person, "c", 1), ()).expect("makes room");
        assert_eq!(place, Place { ahead: 0, displaced: Some(4) });
        queue.cancel(5);
        assert!(queue.push(6, order(Class::Background, "c", 1), ()).is_ok_and(|p| p.displaced.is_none()));
    }

    #[test]
    fn a_request_whose_time_is_over_is_taken_out() {
        let mut queue = Queue::new(8);
        let now = Instant::now();
        for (ticket, seconds) in [(1, 5), (2, 1)] {
            let until = now + Duration::from_secs(seconds);
            queue.push(ticket, Order { until, ..order(Class::Person, "a", 1) }, ()).expect("room");
        }
        assert_eq!(queue.next_expiry(), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.expire(now + Duration::from_secs(1)), [2]);
        assert_eq!(tickets(&mut queue), [1]);
    }

    #[test]
    fn places_are_kept_for_what_is_more_urgent() {
        assert_eq!(CLASSES.map(|class| class.places(6)), [6, 5, 4]);
        assert_eq!(CLASSES.map(|class| class.places(2)), [2, 2, 2]);
        let mut queue = Queue::new(8);
        queue.push(1, order(Class::Person, "a", 1), ()).expect("room");
        queue.push(2, order(Class::Background, "a", 1), ()).expect("room");
        assert!(queue.pop(|class| class == Class::Incident).is_none());
        assert!(queue.pop(|class| class == Class::Background).is_some_and(|(ticket, ..)| ticket == 2));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_callers_get_equal_shares(
            steps in proptest::collection::vec((0u8..4, 0usize..3, 0u8..3, 1u32..50), 0..300)
        ) {
            let mut queue = Queue::new(16);
            let (mut next, mut inside) = (0u64, Vec::new());
            for (step, class, person, weight) in steps {
                match step {
                    0 | 1 => {
                        let order = order(CLASSES[class], &person.to_string(), weight);
                        match queue.push(next, order.clone(), order) {
                            Ok(place) => {
                                prop_assert!(place.ahead < 16);
                                inside.retain(|&ticket| Some(ticket) != place.displaced);
                                inside.push(next);
                            }
                            Err(Full::All) => prop_assert_eq!(inside.len(), 16),
                            Err(Full::Caller(most)) => prop_assert_eq!(most, 8),
                        }
                        next += 1;
                    }
                    2 => match queue.pop(|_| true) {
                        Some((ticket, order, job)) => {
                            prop_assert_eq!(&order, &job);
                            prop_assert!(inside.contains(&ticket));
                            inside.retain(|&t| t != ticket);
                            let rest = queue.waiting.iter().map(|w| w.order.class).min();
                            prop_assert!(rest.is_none_or(|class| order.class <= class));
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

        #[test]
        fn over_time_callers_who_always_wait_get_the_same_work_done(weights in proptest::collection::vec(1u32..100, 3)) {
            let mut queue = Queue::new(64);
            let mut done = [0u64; 3];
            for ticket in 0..3000 {
                // Each caller has always one request that waits.
                for (person, weight) in weights.iter().enumerate() {
                    if !queue.waiting.iter().any(|w: &Waiting<usize>| w.job == person) {
                        queue.push(ticket, order(Class::Person, &person.to_string(), *weight), person).expect("room");
                    }
                }
                if let Some((_, order, person)) = queue.pop(|_| true) {
                    done[person] += u64::from(order.weight);
                }
            }
            let (least, most) = (done.iter().min().expect("three"), done.iter().max().expect("three"));
            prop_assert!(most - least <= 200, "{done:?}");
        }
    }
}
