//! Changes on trial: what could cut off whoever makes it counts at once, but is taken back unless somebody confirms in
//! time that the machine can still be reached.
//!
//! A change is written down as the lasting one only when it is confirmed. So a crash and a power cut take it back as
//! well, because the next start goes by what is written down.

use aios_abi::netconf::{MAX_TRIAL_SECONDS, MIN_TRIAL_SECONDS, Trial};
use aios_abi::{CallError, ErrorCode};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A step of a change. Nothing happens until it is awaited; one that is not needed is dropped.
pub(crate) type Step = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;

/// A change that can be tried.
pub(crate) struct Attempt {
    /// What is changed, in a few words.
    pub(crate) what: String,
    /// Makes it count, or says why not and leaves everything as it was.
    pub(crate) make: Step,
    /// Makes it last.
    pub(crate) keep: Step,
    /// Takes it back.
    pub(crate) back: Step,
}

/// All changes on trial: one at a time, because two could not be taken back apart.
#[derive(Clone, Default)]
pub(crate) struct Trials(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Tells one trial from the next.
    number: u64,
    running: Option<Running>,
}

struct Running {
    what: String,
    until: Instant,
    keep: Step,
    back: Step,
}

impl Running {
    fn told(&self) -> Trial {
        let left = self.until.saturating_duration_since(Instant::now());
        let seconds = left.as_millis().div_ceil(1_000);
        Trial { what: self.what.clone(), seconds_left: u16::try_from(seconds).unwrap_or(u16::MAX) }
    }
}

impl Trials {
    /// Make a change that is taken back after so many seconds.
    pub(crate) async fn begin(&self, attempt: Attempt, seconds: u16) -> Result<Trial, CallError> {
        if !(MIN_TRIAL_SECONDS..=MAX_TRIAL_SECONDS).contains(&seconds) {
            return Err(CallError::invalid(format!(
                "a change can be tried for {MIN_TRIAL_SECONDS} to {MAX_TRIAL_SECONDS} seconds"
            )));
        }
        self.begin_for(attempt, Duration::from_secs(seconds.into())).await
    }

    async fn begin_for(&self, attempt: Attempt, time: Duration) -> Result<Trial, CallError> {
        let this = self.clone();
        whole(async move {
            let mut state = this.0.lock().await;
            if let Some(running) = &state.running {
                let Trial { what, seconds_left } = running.told();
                let text = format!(
                    "another change is on trial for {seconds_left} s more ({what}); confirm it with net.confirm or take \
                     it back with net.revert first"
                );
                return Err(CallError::new(ErrorCode::Conflict, text));
            }
            let Attempt { what, make, keep, back } = attempt;
            make.await?;
            let until = Instant::now() + time;
            let running = Running { what, until, keep, back };
            let told = running.told();
            eprintln!("<5>on trial for {} s: {}", told.seconds_left, told.what);
            state.number += 1;
            state.running = Some(running);
            let (number, later) = (state.number, this.clone());
            tokio::spawn(async move {
                tokio::time::sleep_until(until).await;
                later.over(number).await;
            });
            Ok(told)
        })
        .await
    }

    /// The change that is on trial.
    pub(crate) async fn running(&self) -> Option<Trial> {
        self.0.lock().await.running.as_ref().map(Running::told)
    }

    /// Let the change last; what it is. One that cannot be written down is taken back.
    pub(crate) async fn confirm(&self) -> Result<String, CallError> {
        let this = self.clone();
        whole(async move {
            let mut state = this.0.lock().await;
            let Running { what, keep, back, .. } = state.running.take().ok_or_else(nothing)?;
            if let Err(error) = keep.await {
                say_if_failed(&what, back.await);
                let text = format!("{error}; so the change was taken back ({what})");
                return Err(CallError::new(error.code, text));
            }
            eprintln!("<5>confirmed: {what}");
            Ok(what)
        })
        .await
    }

    /// Take the change back now; what it was.
    pub(crate) async fn take_back(&self) -> Result<String, CallError> {
        let this = self.clone();
        whole(async move {
            let mut state = this.0.lock().await;
            let Running { what, back, .. } = state.running.take().ok_or_else(nothing)?;
            back.await?;
            eprintln!("<5>taken back: {what}");
            Ok(what)
        })
        .await
    }

    /// Time is over for this trial.
    async fn over(&self, number: u64) {
        let mut state = self.0.lock().await;
        if state.number != number {
            return;
        }
        if let Some(Running { what, back, .. }) = state.running.take() {
            eprintln!("<4>nobody confirmed it in time, taken back: {what}");
            say_if_failed(&what, back.await);
        }
    }
}

/// To its end, even if whoever asked for it has gone: a client that is cut off goes in the middle.
async fn whole<T: Send + 'static>(
    work: impl Future<Output = Result<T, CallError>> + Send + 'static,
) -> Result<T, CallError> {
    tokio::spawn(work).await.map_err(|e| CallError::failed(format!("the change failed half-way: {e}")))?
}

fn nothing() -> CallError {
    CallError::not_found("no change of the network is on trial; it was confirmed or taken back already")
}

fn say_if_failed(what: &str, outcome: Result<(), CallError>) {
    if let Err(error) = outcome {
        eprintln!("<3>{what} was not wholly taken back: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    /// A change whose steps tell that they are done; the one of this name fails.
    fn attempt(failing: &'static str) -> (Attempt, mpsc::UnboundedReceiver<&'static str>) {
        let (tell, done) = mpsc::unbounded_channel();
        let step = |name| -> Step {
            let tell = tell.clone();
            Box::pin(async move {
                let _ = tell.send(name);
                if name == failing { Err(CallError::failed(name)) } else { Ok(()) }
            })
        };
        (Attempt { what: "a test".into(), make: step("make"), keep: step("keep"), back: step("back") }, done)
    }

    /// What was done of a change that is over.
    async fn all(mut done: mpsc::UnboundedReceiver<&'static str>) -> Vec<&'static str> {
        let mut all = Vec::new();
        while let Some(step) = done.recv().await {
            all.push(step);
        }
        all
    }

    #[tokio::test]
    async fn what_nobody_confirms_is_taken_back_in_time_and_not_before() {
        let trials = Trials::default();
        let (attempt, done) = attempt("");
        let begun = Instant::now();
        trials.begin_for(attempt, SHORT).await.expect("begins");
        assert_eq!(trials.running().await.map(|trial| trial.seconds_left), Some(1));
        assert_eq!(all(done).await, ["make", "back"]);
        assert!(begun.elapsed() >= SHORT);
        assert_eq!(trials.running().await, None);
        assert_eq!(trials.confirm().await.expect_err("too late").code, ErrorCode::NotFound);
    }

    #[tokio::test]
    async fn there_is_one_trial_at_a_time_and_each_has_its_own_time() {
        let trials = Trials::default();
        let (first, first_done) = attempt("");
        trials.begin_for(first, SHORT).await.expect("begins");
        let error = trials.begin(attempt("").0, 10).await.expect_err("one at a time");
        assert!(error.code == ErrorCode::Conflict && error.message.contains("a test"), "{error}");
        assert_eq!(trials.confirm().await.expect("lasts"), "a test");
        assert_eq!(all(first_done).await, ["make", "keep"]);
        let (second, second_done) = attempt("");
        trials.begin_for(second, LONG).await.expect("begins");
        // The end of the first one's time is not that of the second.
        tokio::time::sleep(2 * SHORT).await;
        assert!(trials.running().await.is_some());
        trials.take_back().await.expect("is taken back");
        assert_eq!(all(second_done).await, ["make", "back"]);
    }

    #[tokio::test]
    async fn what_cannot_be_made_is_no_trial_and_what_cannot_be_kept_is_taken_back() {
        let trials = Trials::default();
        assert_eq!(trials.begin(attempt("").0, 9).await.expect_err("too short").code, ErrorCode::Invalid);
        let (broken, done) = attempt("make");
        trials.begin_for(broken, LONG).await.expect_err("fails");
        assert_eq!((all(done).await, trials.running().await), (vec!["make"], None));
        let (unkept, done) = attempt("keep");
        trials.begin_for(unkept, LONG).await.expect("begins");
        let error = trials.confirm().await.expect_err("cannot be kept");
        assert!(error.message.contains("taken back"), "{error}");
        assert_eq!(all(done).await, ["make", "keep", "back"]);
    }

    #[tokio::test]
    async fn a_client_that_goes_in_the_middle_tears_nothing_apart() {
        let trials = Trials::default();
        let (mut attempt, done) = attempt("");
        let (go, gate) = tokio::sync::oneshot::channel::<()>();
        let make = attempt.make;
        attempt.make = Box::pin(async move {
            let _ = gate.await;
            make.await
        });
        let cut_off = tokio::time::timeout(SHORT, trials.begin_for(attempt, SHORT)).await;
        assert!(cut_off.is_err());
        go.send(()).expect("the change goes on");
        assert_eq!(all(done).await, ["make", "back"]);
    }
}
