//! Which model each tier of this machine uses, and how it gets another one.
//!
//! A model is taken into use only after it has answered: it is loaded beside the one before, which goes on working, and
//! asked something short under a grammar. Then it is on [trial](Limits::trial): if its worker dies, the one before is
//! used again, and so it is if the machine stops meanwhile ([`Book`]).

mod book;

pub(crate) use book::write;
pub use book::{Book, Entry, TIERS, Trial, parse};

use crate::engine::{Delivery, Engine, Snapshot, Work};
use crate::queue::{Caller, Class, Order};
use crate::tiers::Tiers;
use aios_abi::engine::{Generate, Grammar, Message};
use aios_abi::infer::{EngineState, ModelChoice, Tier, TierModel};
use aios_abi::{CallError, ErrorCode};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// What a new model is asked, and what its answer must follow.
const QUESTION: &str = "Are you ready? Answer with true or false.";
const ANSWER: &str = r#"start: "{\"ready\": " ("true" | "false") "}""#;
/// Tokens of the answer.
const TOKENS: u32 = 48;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A model, to be loaded.
    pub load: Duration,
    /// Its answer to the health test.
    pub answer: Duration,
    /// From the health test on: if the worker dies in this time, the model before is used again.
    pub trial: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            load: Duration::from_secs(600),
            answer: Duration::from_secs(120),
            trial: Duration::from_secs(60),
        }
    }
}

/// Starts the engine of a tier with an imported model, or with its own one.
pub type Make = Box<dyn Fn(Tier, Option<PathBuf>) -> Engine + Send + Sync>;

/// The engines that write text, and the models that they use.
pub struct Models {
    tiers: RwLock<Tiers>,
    book: Mutex<Book>,
    /// Where imported models are; nothing where none can be.
    folder: PathBuf,
    make: Option<Make>,
    limits: Limits,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
    watching: Mutex<Vec<(Tier, AbortHandle)>>,
}

/// How a model that is being loaded is.
enum Stand {
    Waiting(String),
    Ready,
    /// There is no worker for it.
    Absent(String),
    Broken(String),
}

/// `first` is how the engine was when it had not begun.
fn stand(first: &Snapshot, now: &Snapshot) -> Stand {
    let detail = now.health.detail.clone();
    match now.health.state {
        EngineState::Ready => Stand::Ready,
        EngineState::Loading => Stand::Waiting(detail),
        EngineState::Absent if detail == first.health.detail => Stand::Waiting(detail),
        // One that was there and is not any more has died.
        EngineState::Absent => Stand::Absent(detail),
        EngineState::Failed => Stand::Broken(detail),
    }
}

/// Why an engine is not ready.
pub(crate) enum Unready {
    /// There is no worker for it.
    Absent(String),
    /// It does not get ready.
    Broken(CallError),
}

/// Wait until an engine has loaded its model. `tell` hears how far it is.
pub(crate) async fn ready<F: Future<Output = Result<(), CallError>>>(
    engine: &Engine,
    limit: Duration,
    tell: impl Fn(String) -> F,
) -> Result<(), Unready> {
    let mut changes = engine.watch();
    let first = engine.first().clone();
    let until = Instant::now() + limit;
    loop {
        let now = changes.borrow_and_update().clone();
        match stand(&first, &now) {
            Stand::Ready => return Ok(()),
            Stand::Waiting(detail) => tell(detail).await.map_err(Unready::Broken)?,
            Stand::Absent(why) => return Err(Unready::Absent(why)),
            Stand::Broken(why) => return Err(Unready::Broken(CallError::failed(why))),
        }
        let late = || {
            let text = format!("it was not loaded within {} s", limit.as_secs());
            Unready::Broken(CallError::new(ErrorCode::Timeout, text))
        };
        tokio::time::timeout_at(until.into(), changes.changed())
            .await
            .map_err(|_| late())?
            .map_err(|_| Unready::Broken(CallError::failed("its engine ended")))?;
    }
}

impl Models {
    /// These engines for ever.
    pub fn fixed(tiers: Tiers) -> Arc<Self> {
        Arc::new(Self::new(tiers, Book::in_memory(), PathBuf::new(), None, Limits::default()))
    }

    /// Start the engines with the models of the book. One that cannot be used is said, and the image's used in its place.
    pub fn start(
        strategic: Engine,
        mut book: Book,
        folder: PathBuf,
        make: Make,
        limits: Limits,
    ) -> Arc<Self> {
        let mut engine = |tier: Tier| {
            let mut entry = book.entry(tier);
            let mut is_sound = true;
            // Each failure goes one model back, and the image's own is the last.
            while let Some(Err(why)) = entry.current.file(&folder).map(|file| aios_gguf::check(&file)) {
                entry = entry.failed(&why.to_string());
                is_sound = false;
                tracing::warn!("the {} tier: {}", tier.name(), entry.note.clone().unwrap_or_default());
            }
            let file = entry.current.file(&folder);
            if !is_sound {
                book.put(tier, entry).unwrap_or_else(|why| tracing::warn!("{why}"));
            }
            make(tier, file)
        };
        let tiers =
            Tiers { operational: engine(Tier::Operational), tactical: engine(Tier::Tactical), strategic };
        let models = Arc::new(Self::new(tiers, book, folder, Some(make), limits));
        for tier in TIERS {
            models.watch(tier);
        }
        models
    }

    fn new(tiers: Tiers, book: Book, folder: PathBuf, make: Option<Make>, limits: Limits) -> Self {
        Self {
            tiers: RwLock::new(tiers),
            book: Mutex::new(book),
            folder,
            make,
            limits,
            turn: tokio::sync::Mutex::default(),
            watching: Mutex::default(),
        }
    }

    /// The engines as they are now. Whoever has them keeps a model that is replaced meanwhile until the answer is complete.
    pub fn tiers(&self) -> Tiers {
        self.tiers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in the critical sections can panic half-way.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which model each tier uses.
    pub fn list(&self) -> Vec<TierModel> {
        let book = self.book();
        TIERS.into_iter().map(|tier| book.entry(tier).told(tier)).collect()
    }

    /// Use another model. `tell` hears how far it is.
    ///
    /// Dropped before it ends, nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the model; the one before is still in use.
    pub async fn switch<F: Future<Output = Result<(), CallError>>>(
        self: &Arc<Self>,
        tier: Tier,
        to: ModelChoice,
        tell: impl Fn(String) -> F,
    ) -> Result<TierModel, CallError> {
        let make = self.make.as_ref().filter(|_| TIERS.contains(&tier)).ok_or_else(|| {
            CallError::invalid(format!("the model of the {} tier cannot be chosen here", tier.name()))
        })?;
        let _turn = self.turn.try_lock().map_err(|_| {
            CallError::new(
                ErrorCode::Busy,
                "another model is being taken into use; try again when that is done",
            )
        })?;
        let entry = self.book().entry(tier);
        let from = entry.current.clone();
        if from == to {
            return Ok(entry.told(tier));
        }
        let refused = |error: CallError| {
            CallError::new(error.code, format!("{to} is not used: {}; {from} stays in use", error.message))
        };
        let file = to.file(&self.folder);
        let candidate = make(tier, file);
        tell(format!("{to} is being loaded; {from} goes on answering")).await?;
        let tested = self.examine(&candidate, &to, tell).await.map_err(refused)?;
        // From here on nothing waits, so that nothing is torn apart.
        let entry = entry.taking(to.clone());
        let entry = if tested { entry } else { entry.passed() };
        self.book().put(tier, entry.clone()).map_err(|why| refused(CallError::failed(why)))?;
        self.replace(tier, candidate);
        tracing::info!("the {} tier uses {to} now; before it was {from}", tier.name());
        self.watch(tier);
        Ok(entry.told(tier))
    }

    /// Wait until the model is loaded, and ask it something. Whether it could be asked: where the image has no model, there
    /// is nobody to ask.
    async fn examine<F: Future<Output = Result<(), CallError>>>(
        &self,
        engine: &Engine,
        to: &ModelChoice,
        tell: impl Fn(String) -> F,
    ) -> Result<bool, CallError> {
        match ready(engine, self.limits.load, &tell).await {
            Ok(()) => {}
            Err(Unready::Absent(_)) if *to == ModelChoice::Image => return Ok(false),
            Err(Unready::Absent(why)) => return Err(CallError::failed(why)),
            Err(Unready::Broken(error)) => return Err(error),
        }
        tell("it is loaded and is being tested".into()).await?;
        self.ask(engine).await.map(|()| true)
    }

    /// The health test.
    async fn ask(&self, engine: &Engine) -> Result<(), CallError> {
        let messages = vec![Message { role: "user".into(), content: QUESTION.into() }];
        let grammar = Some(Grammar::Lark(ANSWER.into()));
        let work = Work::Generate(Generate { messages, grammar, max_tokens: TOKENS, ..Generate::default() });
        let order = Order {
            class: Class::Person,
            caller: Caller { uid: rustix::process::geteuid().as_raw(), person: None },
            until: Instant::now() + self.limits.answer,
            weight: TOKENS,
        };
        let mut job = engine.submit(order, work);
        let mut text = String::new();
        loop {
            match job.next().await? {
                Delivery::Text(piece) => text.push_str(&piece),
                Delivery::Queued { .. } | Delivery::Started => {}
                Delivery::Done(_) => break,
                other => return Err(CallError::failed(format!("it answered with {other:?}"))),
            }
        }
        let answer: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        match answer.is_some_and(|answer| answer["ready"].is_boolean()) {
            true => Ok(()),
            false => Err(CallError::failed(format!("its answer to the health test is not valid: {text:?}"))),
        }
    }

    fn replace(&self, tier: Tier, engine: Engine) {
        let mut tiers = self.tiers.write().unwrap_or_else(PoisonError::into_inner);
        match tier {
            Tier::Operational => tiers.operational = engine,
            Tier::Tactical => tiers.tactical = engine,
            Tier::Strategic => {}
        }
    }

    /// Watch an imported model through its trial, and through the same time after each start.
    fn watch(self: &Arc<Self>, tier: Tier) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        watching.retain(|(other, task)| {
            if *other == tier {
                task.abort();
            }
            *other != tier
        });
        if self.book().entry(tier).current == ModelChoice::Image {
            return;
        }
        let (models, engine) = (self.clone(), self.tiers().engine(tier).clone());
        let task = tokio::spawn(async move {
            let why = models.survives(&engine).await;
            // It may be this very task that the next watch ends, so that this is a task of its own.
            tokio::spawn(async move { models.ended(tier, why.err()) });
        });
        watching.push((tier, task.abort_handle()));
    }

    /// Wait until the model has worked through its trial.
    async fn survives(&self, engine: &Engine) -> Result<(), String> {
        let mut changes = engine.watch();
        let first = engine.first().clone();
        let mut since: Option<Instant> = None;
        loop {
            let now = changes.borrow_and_update().clone();
            match stand(&first, &now) {
                Stand::Waiting(_) => {}
                Stand::Ready => {
                    since.get_or_insert_with(Instant::now);
                }
                // That it is started again is no comfort: the one before is.
                Stand::Absent(why) | Stand::Broken(why) => {
                    return Err(why.trim_end_matches("; it is being started again").into());
                }
            }
            let over = async {
                match since {
                    Some(since) => tokio::time::sleep_until((since + self.limits.trial).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| "its engine ended".to_owned())?,
                () = over => return Ok(()),
            }
        }
    }

    /// A trial is over.
    fn ended(self: &Arc<Self>, tier: Tier, why: Option<String>) {
        let entry = self.book().entry(tier);
        let entry = match &why {
            None => entry.passed(),
            Some(why) => entry.failed(why),
        };
        if let Err(why) = self.book().put(tier, entry.clone()) {
            tracing::error!("what the {} tier uses cannot be recorded: {why}", tier.name());
        }
        if why.is_some() {
            tracing::error!("the {} tier: {}", tier.name(), entry.note.clone().unwrap_or_default());
            if let Some(make) = &self.make {
                self.replace(tier, make(tier, entry.current.file(&self.folder)));
                self.watch(tier);
            }
        }
    }

    /// inferd ends in good order: a model that works by now has passed.
    pub fn settle(&self) {
        for tier in TIERS {
            let entry = self.book().entry(tier);
            let works = self.tiers().engine(tier).snapshot().health.state == EngineState::Ready;
            if entry.trial.is_some() && works {
                self.book()
                    .put(tier, entry.passed())
                    .unwrap_or_else(|why| tracing::error!("the {} tier: {why}", tier.name()));
            }
        }
    }
}
