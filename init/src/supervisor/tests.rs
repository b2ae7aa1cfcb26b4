//! The supervisor in single stories.

use super::world::{World, daemon};
use super::*;
use aios_abi::service::ServiceState;
use aios_unit::Timer;

#[test]
fn a_dead_daemon_is_started_again_at_once() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    world.die(Id(0), true);
    assert!(world.alive.contains_key(&Id(0)));
    assert_eq!(world.state(Id(0)), ServiceState::Starting);
}

#[test]
fn a_flapping_service_is_retried_slowly_not_dropped() {
    let mut world = World::booted(vec![daemon("a")]);
    for _ in 0..30 {
        world.die(Id(0), false);
        world.pass(Duration::from_secs(60));
        assert!(world.alive.contains_key(&Id(0)), "is tried again within a minute");
    }
    assert!(world.supervisor.view(Id(0), world.now.boot).is_some_and(|v| v.degraded && v.restarts == 30));
    world.say_ready(Id(0));
    world.pass(Duration::from_secs(60));
    assert!(world.supervisor.view(Id(0), world.now.boot).is_some_and(|v| !v.degraded), "a stable run heals");
    world.die(Id(0), false);
    assert!(world.alive.contains_key(&Id(0)), "and its death is the first one again");
}

#[test]
fn a_stopped_service_stays_stopped_and_the_answer_comes_when_nothing_is_left() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    let ticket = world.stop(Id(0));
    assert_eq!((world.state(Id(0)), world.answers.get(&ticket)), (ServiceState::Stopping, None));
    world.pass(Duration::from_secs(4));
    assert!(world.killed.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.killed.len(), 1, "SIGKILL after the time to stop");
    world.die(Id(0), false);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    world.pass(Duration::from_secs(3600));
    assert_eq!((world.state(Id(0)), world.spawns[0]), (ServiceState::Stopped, 1));
}

#[test]
fn a_restart_is_answered_by_the_new_run_only() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    let ticket = world.restart(Id(0));
    world.say_ready(Id(0));
    assert_eq!(world.answers.get(&ticket), None, "the old run says that it is ready");
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), None);
    world.say_ready(Id(0));
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    assert_eq!(world.supervisor.view(Id(0), world.now.boot).map(|v| v.restarts), Some(0), "nobody died");
}

#[test]
fn a_start_that_fails_is_answered_with_the_reason() {
    let mut world = World::new(vec![daemon("a")]);
    let ticket = world.start(Id(0));
    world.die(Id(0), false);
    let said = world.answers.get(&ticket).and_then(|r| r.clone().err()).unwrap_or_default();
    assert_eq!(said, "died; it is started again at once");
}

#[test]
fn a_service_that_never_becomes_ready_is_killed_and_tried_again() {
    let mut world = World::booted(vec![daemon("a")]);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.killed.len(), 1);
    world.die(Id(0), false);
    assert_eq!(world.spawns.iter().sum::<usize>(), 2);
    let last = world.supervisor.view(Id(0), world.now.boot).and_then(|v| v.last_exit).unwrap_or_default();
    assert!(last.contains("was not ready within 10 s"), "{last}");
}

#[test]
fn what_requires_a_service_stops_before_it_and_comes_back_after_it() {
    let mut b = daemon("b");
    b.requires = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    assert!(!world.alive.contains_key(&Id(1)), "waits for a");
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    let ticket = world.stop(Id(0));
    assert_eq!(world.asked, [Id(1)], "a goes on until b has ended");
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    assert_eq!(world.state(Id(1)), ServiceState::Waiting);
    world.start(Id(0));
    world.say_ready(Id(0));
    assert!(world.alive.contains_key(&Id(1)));
}

#[test]
fn starting_a_service_starts_what_it_requires() {
    let mut b = daemon("b");
    b.requires = vec![Id(0)];
    let mut world = World::new(vec![daemon("a"), b]);
    let ticket = world.start(Id(1));
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
}

#[test]
fn a_broken_service_does_not_hold_up_those_that_only_come_after_it() {
    let mut b = daemon("b");
    b.after = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    assert!(!world.alive.contains_key(&Id(1)));
    world.die(Id(0), false);
    assert!(world.alive.contains_key(&Id(1)));
}

#[test]
fn a_oneshot_runs_once_and_says_whether_it_worked() {
    let oneshot = Spec { kind: Kind::Oneshot, ..daemon("a") };
    let mut world = World::booted(vec![oneshot.clone(), oneshot]);
    world.die(Id(0), true);
    world.die(Id(1), false);
    world.pass(Duration::from_secs(600));
    assert_eq!((world.state(Id(0)), world.state(Id(1))), (ServiceState::Stopped, ServiceState::Failed));
    assert_eq!(world.spawns.iter().sum::<usize>(), 2);
}

#[test]
fn the_machine_goes_down_in_reverse_order_and_without_those_that_hang() {
    let mut b = daemon("b");
    b.after = vec![Id(0)];
    let mut world = World::booted(vec![daemon("a"), b]);
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    world.tell(Event::Shutdown(Power::Off));
    assert_eq!(world.asked, [Id(1)]);
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.killed.len(), 1);
    assert_eq!(world.down, None);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.down, Some(vec![Id(0)]), "not even SIGKILL ended it");
}

#[test]
fn who_keeps_the_logs_ends_last() {
    let log = Spec { last: true, ..daemon("a") };
    let mut world = World::booted(vec![log, daemon("b")]);
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    world.tell(Event::Shutdown(Power::Off));
    assert_eq!(world.asked, [Id(1)]);
    world.die(Id(1), true);
    assert_eq!(world.asked, [Id(0)]);
}

#[test]
fn the_time_to_become_ready_begins_with_the_process_and_not_with_its_place_in_the_queue() {
    let mut supervisor = Supervisor::new(vec![daemon("a")], 42);
    let at = |seconds| Now { boot: Duration::from_secs(seconds), wall: Duration::from_secs(1_795_258_080) };
    let kills = |actions: Vec<Action>| actions.iter().any(|action| matches!(action, Action::KillAll(..)));
    let run = supervisor.step(at(1), Event::Boot).into_iter().find_map(|action| match action {
        Action::Spawn(_, run) => Some(run),
        _ => None,
    });
    assert!(!kills(supervisor.step(at(100), Event::Tick)), "a thousand others came first");
    supervisor.step(at(100), Event::Spawned(Id(0), run.expect("is to be made"), 7));
    assert!(!kills(supervisor.step(at(109), Event::Tick)));
    assert!(kills(supervisor.step(at(110), Event::Tick)), "ten seconds are over");
}

#[test]
fn late_news_of_an_older_run_is_ignored() {
    let mut world = World::booted(vec![daemon("a")]);
    let old = world.alive[&Id(0)];
    world.die(Id(0), false);
    world.tell(Event::Ready(Id(0), old));
    world.tell(Event::Exited(Id(0), old, Ended { success: false, starved: false, how: "again".into() }));
    world.tell(Event::Empty(Id(0), old));
    world.tell(Event::SpawnFailed(Id(0), old, "late".into()));
    assert_eq!((world.state(Id(0)), world.spawns[0]), (ServiceState::Starting, 2));
}

#[test]
fn a_milestone_is_reached_when_what_it_requires_is_ready_and_lost_when_that_stops() {
    let up = Spec { kind: Kind::Milestone, requires: vec![Id(0)], ..daemon("up") };
    let late = Spec { requires: vec![Id(1)], ..daemon("late") };
    let mut world = World::booted(vec![daemon("a"), up, late]);
    assert_eq!(world.state(Id(1)), ServiceState::Waiting);
    world.say_ready(Id(0));
    assert_eq!(world.state(Id(1)), ServiceState::Running);
    assert!(world.alive.contains_key(&Id(2)));
    let ticket = world.stop(Id(0));
    assert_eq!(world.asked, [Id(2)]);
    world.die(Id(2), true);
    assert_eq!(world.asked, [Id(0)], "the milestone ends by itself");
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    assert_eq!(world.state(Id(1)), ServiceState::Waiting);
}

#[test]
fn what_is_wanted_is_started_with_it_and_may_fail() {
    let helper = Spec { start: Start::Manual, ..daemon("helper") };
    let main = Spec { wants: vec![Id(0)], ..daemon("main") };
    let mut world = World::booted(vec![helper, main, Spec { start: Start::Manual, ..daemon("other") }]);
    assert!(world.alive.contains_key(&Id(0)) && world.alive.contains_key(&Id(1)));
    assert!(!world.alive.contains_key(&Id(2)), "nobody wants it");
    world.die(Id(0), false);
    world.say_ready(Id(1));
    assert_eq!(world.state(Id(1)), ServiceState::Running);
}

#[test]
fn a_service_that_says_nothing_is_killed_by_its_watchdog() {
    let watched = Spec { watchdog: Some(Duration::from_secs(3)), ..daemon("a") };
    let mut world = World::booted(vec![watched]);
    world.say_ready(Id(0));
    for _ in 0..5 {
        world.pass(Duration::from_secs(2));
        let run = world.alive[&Id(0)];
        world.tell(Event::Alive(Id(0), run));
    }
    assert!(world.killed.is_empty());
    world.pass(Duration::from_secs(3));
    assert_eq!(world.killed.len(), 1);
    world.die(Id(0), false);
    assert_eq!(world.spawns[0], 2);
    assert!(world.said.iter().any(|s| s.contains("said nothing for 3 s")), "{:?}", world.said);
}

#[test]
fn a_service_that_is_not_well_may_ask_to_be_killed() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    world.tell(Event::Unwell(Id(0), world.alive[&Id(0)]));
    assert_eq!(world.killed.len(), 1);
}

#[test]
fn a_stopped_process_is_continued_and_its_watchdog_does_not_count_that_time() {
    let mut world = World::booted(vec![daemon("a")]);
    world.say_ready(Id(0));
    let run = world.alive[&Id(0)];
    world.frozen.push(Id(0));
    world.tell(Event::Frozen(Id(0), run));
    world.tell(Event::Frozen(Id(0), run));
    world.pass(Duration::from_secs(9));
    assert_eq!(world.frozen, [Id(0)]);
    world.pass(Duration::from_secs(1));
    assert!(world.frozen.is_empty(), "was continued");
    assert_eq!(world.supervisor.next_deadline(), None);
}

#[test]
fn a_start_may_ask_for_more_time() {
    let mut world = World::booted(vec![daemon("a")]);
    let run = world.alive[&Id(0)];
    world.tell(Event::Extend(Id(0), run, Duration::from_secs(60)));
    world.pass(Duration::from_secs(59));
    assert!(world.killed.is_empty());
    world.pass(Duration::from_secs(2));
    assert_eq!(world.killed.len(), 1);
}

#[test]
fn a_socket_starts_its_service_and_waits_again_when_that_has_nothing_to_do() {
    let lazy = Spec { start: Start::Socket, ..daemon("lazy") };
    let mut world = World::booted(vec![lazy]);
    assert_eq!(world.state(Id(0)), ServiceState::Listening);
    world.tell(Event::Knock(Id(0)));
    world.tell(Event::Knock(Id(0)));
    world.say_ready(Id(0));
    assert_eq!((world.state(Id(0)), world.spawns[0]), (ServiceState::Running, 1));
    world.die(Id(0), true);
    assert_eq!((world.state(Id(0)), world.listening.as_slice()), (ServiceState::Listening, &[Id(0)][..]));
    world.tell(Event::Knock(Id(0)));
    world.die(Id(0), false);
    assert!(world.alive.contains_key(&Id(0)), "a death is no rest");
    world.stop(Id(0));
    world.settle();
    assert_eq!(world.state(Id(0)), ServiceState::Stopped);
    assert!(world.listening.is_empty());
}

#[test]
fn a_service_that_leaves_its_callers_waiting_is_not_called_for_ever() {
    let mut world = World::booted(vec![Spec { start: Start::Socket, ..daemon("lazy") }]);
    for _ in 0..100 {
        world.tell(Event::Knock(Id(0)));
        world.die(Id(0), true);
        world.pass(Duration::from_millis(1));
    }
    assert!(world.spawns[0] < 40, "{} runs", world.spawns[0]);
    assert!(matches!(world.state(Id(0)), ServiceState::Backoff), "{:?}", world.state(Id(0)));
}

fn timed(timer: Timer) -> Spec {
    Spec { kind: Kind::Oneshot, timer: Some(timer), ..daemon("timed") }
}

fn never() -> Timer {
    Timer { after_boot: None, every: None, at: None, jitter: Duration::ZERO, catch_up: false }
}

#[test]
fn a_timer_runs_its_oneshot_again_and_again() {
    let minute = Duration::from_secs(60);
    let timer = Timer { after_boot: Some(minute), every: Some(10 * minute), ..never() };
    let mut world = World::booted(vec![timed(timer)]);
    assert_eq!(world.state(Id(0)), ServiceState::Scheduled);
    world.pass(minute);
    assert!(world.alive.contains_key(&Id(0)));
    world.pass(Duration::from_secs(5));
    world.die(Id(0), true);
    assert_eq!(world.state(Id(0)), ServiceState::Scheduled);
    world.pass(10 * minute - Duration::from_secs(1));
    assert_eq!(world.spawns[0], 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.spawns[0], 2);
    world.die(Id(0), false);
    assert_eq!(world.state(Id(0)), ServiceState::Failed, "a failure is seen until the next run");
    world.pass(10 * minute);
    assert_eq!(world.spawns[0], 3);
    world.die(Id(0), true);
    let ticket = world.start(Id(0));
    assert_eq!((world.spawns[0], world.answers.get(&ticket)), (4, None), "at a person's request too");
    world.die(Id(0), true);
    assert_eq!(world.answers.get(&ticket), Some(&Ok(())));
    world.stop(Id(0));
    world.pass(100 * minute);
    assert_eq!((world.state(Id(0)), world.spawns[0]), (ServiceState::Stopped, 4));
}

#[test]
fn a_calendar_follows_the_clock_when_it_is_set() {
    // The world begins at 10:48 UTC.
    let timer = Timer { at: "0 12 * * *".parse().ok(), ..never() };
    let mut world = World::booted(vec![timed(timer)]);
    let next = |world: &World| world.supervisor.view(Id(0), world.now.boot).and_then(|v| v.next_run);
    assert_eq!(next(&world), Some(Duration::from_secs(72 * 60)));
    world.now.wall += Duration::from_secs(3600);
    world.tell(Event::ClockSet);
    assert_eq!(next(&world), Some(Duration::from_secs(12 * 60)));
    world.now.wall -= Duration::from_secs(7200);
    world.tell(Event::ClockSet);
    assert_eq!(next(&world), Some(Duration::from_secs(132 * 60)));
    assert_eq!(world.spawns[0], 0);
}

#[test]
fn a_moment_that_was_missed_is_made_up_for() {
    let at = "0 3 * * *".parse().ok();
    let day = Duration::from_secs(86_400);
    let catching = Timer { at, catch_up: true, ..never() };
    let now = World::new(vec![]).now.wall;
    let spec = |timer, last_run| Spec { last_run, ..timed(timer) };
    let world = World::booted(vec![
        spec(catching.clone(), Some(now - 2 * day)),
        spec(catching.clone(), Some(now - Duration::from_secs(60))),
        spec(catching, None),
        spec(Timer { at, ..never() }, Some(now - 2 * day)),
    ]);
    assert_eq!(world.spawns, [1, 0, 0, 0]);
}

#[test]
fn a_new_init_goes_on_where_the_old_one_left_off() {
    let mut b = daemon("b");
    b.requires = vec![Id(0)];
    let specs = vec![daemon("a"), b, Spec { start: Start::Manual, ..daemon("c") }];
    let mut world = World::booted(specs.clone());
    world.say_ready(Id(0));
    let memories = (0..3).map(Id).filter_map(|id| Some((id, world.supervisor.memory(id)?.clone()))).collect();
    let common = world.supervisor.common();
    world.supervisor = Supervisor::new(specs, 7);
    world.supervisor.recall(common, memories);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.spawns, [1, 1, 0], "nothing is started twice");
    world.say_ready(Id(1));
    world.die(Id(0), false);
    assert_eq!(world.spawns, [2, 1, 0]);
    assert_eq!(world.state(Id(1)), ServiceState::Running);
}

#[test]
fn files_that_are_read_again_start_what_is_new_and_stop_what_is_gone() {
    let specs = vec![daemon("a"), daemon("b")];
    let mut world = World::booted(specs.clone());
    world.say_ready(Id(0));
    world.say_ready(Id(1));
    world.specs.push(daemon("c"));
    (world.wanted, world.ready, world.spawns) =
        (vec![true, false, true], vec![true, true, false], vec![1, 1, 0]);
    let changed = Spec { stop_timeout: Duration::from_secs(1), ..daemon("a") };
    let actions = world.supervisor.replace(vec![Some(changed), None, Some(daemon("c"))], world.now);
    assert_eq!(actions, []);
    world.pass(Duration::from_millis(1));
    assert_eq!((world.asked.as_slice(), &world.spawns), (&[Id(1)][..], &vec![1, 1, 1]));
    assert!(!world.supervisor.is_free(Id(1)));
    world.die(Id(1), true);
    assert!(world.supervisor.is_free(Id(1)));
    assert!(world.supervisor.view(Id(1), world.now.boot).is_none());
}
