//! The supervisor under random histories of random machines. A history is its seed: one that fails is
//! printed and kept in `seeds.txt`, from where it is played again first by every later run.

use super::world::{World, daemon};
use super::*;
use aios_abi::service::ServiceState;
use aios_unit::Timer;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Histories of one run of the test.
const HISTORIES: u64 = 100_000;

/// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A machine of two to nine services of all kinds. Edges go to lower numbers, so there is no circle.
fn machine(dice: &mut Dice) -> Vec<Spec> {
    let count = 2 + dice.below(8);
    (0..count)
        .map(|index| {
            let mut spec = daemon(&format!("s{index}"));
            let mut some = |percent| (0..index).filter(|_| dice.chance(percent)).map(Id).collect::<Vec<_>>();
            (spec.after, spec.requires, spec.wants) = (some(20), some(20), some(10));
            spec.kind = match dice.below(10) {
                0 | 1 => Kind::Oneshot,
                2 => Kind::Milestone,
                _ => Kind::Daemon,
            };
            spec.start = match dice.below(10) {
                0 => Start::Manual,
                1 if spec.kind != Kind::Milestone => Start::Socket,
                _ => Start::Boot,
            };
            if dice.chance(20) {
                spec.watchdog = Some(Duration::from_secs(1 + dice.next() % 30));
            }
            if spec.kind == Kind::Oneshot && spec.start != Start::Socket && dice.chance(60) {
                let some =
                    |dice: &mut Dice| dice.chance(60).then(|| Duration::from_secs(dice.next() % 7200 + 1));
                let at = dice.chance(50).then(|| "*/20 * * * *".parse().expect("is a time"));
                let (after_boot, every) = (some(dice), some(dice));
                let jitter = Duration::from_secs(dice.next() % 60);
                spec.timer = Some(Timer { after_boot, every, at, jitter, catch_up: dice.chance(50) });
            }
            spec.last = index == 0 && dice.chance(30);
            spec
        })
        .collect()
}

fn play(world: &mut World, dice: &mut Dice) {
    let id = Id(dice.below(world.specs.len()));
    let run = world.alive.get(&id).copied();
    match dice.below(100) {
        0..4 => drop(world.start(id)),
        4..8 => drop(world.stop(id)),
        8..12 => drop(world.restart(id)),
        12..32 if world.specs[id.0].kind == Kind::Daemon => world.say_ready(id),
        32..42 => {
            let success = dice.chance(50);
            world.die(id, success);
        }
        42..54 if world.asked.contains(&id) => world.die(id, true),
        54..62 => match world.killed.first().copied() {
            Some((id, _)) => world.die(id, false),
            None => world.clean(id),
        },
        62..64 => world.refuse_spawn = true,
        64..66 => world.messy = !world.messy,
        66..70 => {
            // News of a run that is over.
            let now = world.supervisor.active_run(id);
            if let Some(run) = now.map_or(Some(Run(dice.next() % 20)), |now| now.0.checked_sub(1).map(Run)) {
                let ended = Ended { success: true, starved: false, how: "stale".into() };
                for event in [Event::Exited(id, run, ended), Event::Empty(id, run), Event::Ready(id, run)] {
                    world.tell(event);
                }
            }
        }
        70..73 => {
            if let Some(run) = run.filter(|_| !world.frozen.contains(&id)) {
                world.frozen.push(id);
                world.tell(Event::Frozen(id, run));
            }
        }
        73..76 => {
            if let Some(run) = run {
                world.frozen.retain(|other| *other != id);
                world.tell(Event::Thawed(id, run));
            }
        }
        76..80 => {
            if let Some(run) = run {
                world.tell(Event::Alive(id, run));
            }
        }
        80 => {
            if let Some(run) = run {
                world.tell(Event::Extend(id, run, Duration::from_secs(dice.next() % 100)));
            }
        }
        81 => {
            if let Some(run) = run {
                world.tell(Event::Unwell(id, run));
            }
        }
        82..84 => {
            // The clock jumps, by up to a year in either direction.
            let jump = Duration::from_secs(dice.next() % 31_536_000);
            world.now.wall = match dice.chance(50) {
                true => world.now.wall + jump,
                false => world.now.wall.saturating_sub(jump),
            };
            world.tell(Event::ClockSet);
        }
        84..87 if world.listening.contains(&id) || dice.chance(20) => world.tell(Event::Knock(id)),
        87 => renew(world),
        88..100 => world.pass(Duration::from_millis(dice.next() % 70_000 + 1)),
        _ => {}
    }
}

/// Init executes itself anew.
fn renew(world: &mut World) {
    let ids = (0..world.specs.len()).map(Id);
    let memories = ids.filter_map(|id| Some((id, world.supervisor.memory(id)?.clone()))).collect();
    let count = world.specs.len();
    let mut take = |n| world.supervisor.services.get_mut(n).map(|s| std::mem::take(&mut s.waiting));
    let waiting: Vec<_> = (0..count).filter_map(&mut take).collect();
    let common = world.supervisor.common();
    world.supervisor = Supervisor::new(world.specs.clone(), 9);
    world.supervisor.recall(common, memories);
    // The new one leads the machine down again, should the old one have failed while doing that.
    world.down = None;
    // Connections do not survive it; to end this history well, those who waited go on waiting.
    for (index, waiting) in waiting.into_iter().enumerate() {
        if let Some(s) = world.supervisor.services.get_mut(index) {
            s.waiting = waiting;
        }
    }
}

/// One history. It panics when something that must hold does not.
fn history(seed: u64) {
    let dice = &mut Dice(seed);
    let specs = machine(dice);
    let mut world = World::booted(specs);
    let steps = dice.below(90);
    for _ in 0..steps {
        play(&mut world, dice);
    }
    if dice.chance(30) {
        world.wanted.fill(false);
        world.tell(Event::Shutdown(Power::Reboot));
        for _ in 0..dice.below(20) {
            play(&mut world, dice);
            world.wanted.fill(false);
        }
        world.settle();
        assert!(world.down.is_some(), "the machine did not go down");
        assert!(world.alive.is_empty(), "{:?} outlived the machine", world.alive);
        return;
    }
    world.settle();
    for (index, spec) in world.specs.iter().enumerate() {
        let (id, state) = (Id(index), world.state(Id(index)));
        let up = |id: &Id| world.supervisor.service(*id).is_up();
        let expected: &[ServiceState] = match (spec.kind, spec.start) {
            _ if !world.wanted[index] => &[ServiceState::Stopped],
            _ if !spec.requires.iter().all(up) => &[
                ServiceState::Waiting,
                ServiceState::Running,
                ServiceState::Listening,
                ServiceState::Scheduled,
                ServiceState::Stopped,
                ServiceState::Failed,
            ],
            (_, Start::Socket) => {
                &[ServiceState::Listening, ServiceState::Running, ServiceState::Stopped, ServiceState::Failed]
            }
            // Its timer may have called it a moment ago.
            (Kind::Oneshot, _) if spec.timer.is_some() => &[
                ServiceState::Starting,
                ServiceState::Failed,
                ServiceState::Scheduled,
                ServiceState::Stopped,
            ],
            (Kind::Oneshot, _) => &[ServiceState::Stopped, ServiceState::Failed, ServiceState::Scheduled],
            _ => &[ServiceState::Running],
        };
        assert!(expected.contains(&state), "{} is {state:?}, not one of {expected:?}", spec.name);
        let s = world.supervisor.service(id);
        let served = s.waiting.is_empty() || state == ServiceState::Waiting;
        assert!(served, "{}: {:?} wait for ever while it is {state:?}", spec.name, s.waiting);
    }
}

#[test]
fn whatever_happens_the_machine_keeps_its_promises() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/supervisor/seeds.txt");
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let known = kept.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok());
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let first = since_1970.map_or(1, |time| time.as_nanos() as u64);
    let seeds: Vec<u64> = known.chain((0..HISTORIES).map(|n| first.wrapping_add(n))).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let failed = |seed: &u64| Some((*seed, catch_unwind(AssertUnwindSafe(|| history(*seed))).err()?));
    let first_failed = std::thread::scope(|scope| {
        let part = |seeds: &'_ [u64]| seeds.iter().find_map(failed);
        let parts: Vec<_> = seeds
            .chunks(seeds.len().div_ceil(threads))
            .map(|seeds| scope.spawn(move || part(seeds)))
            .collect();
        parts.into_iter().find_map(|part| part.join().expect("histories do not end the thread"))
    });
    if let Some((seed, panic)) = first_failed {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
        let line = format!("{seed} {}\n", why.replace('\n', " "));
        let kept_anew = format!("{kept}{}", if kept.contains(&seed.to_string()) { "" } else { &line });
        std::fs::write(&file, kept_anew).expect("the seed is kept");
        panic!("history {seed}: {why} (kept in {})", file.display());
    }
}
