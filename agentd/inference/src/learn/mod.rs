//! A machine learns how its own people ask: from what they approved, beside what its image has learned.
//!
//! A program of its own learns ([`Place::trainer`]), with the least urgency that the kernel knows, and measures what it learned with
//! questions that it did not learn from. Only what knows more of them, and has not forgotten what the image knew, is used
//! ([`Learning::is_better`]), and only once a worker has answered with it. What was used before stays, to go back to.

mod book;

use crate::choose::Head;
use crate::engine::{Delivery, Engine, Work};
use crate::models::{self, Unready};
use crate::queue::{Caller, Class, Order};
use aios_abi::infer::{Adapted, LEAST_LESSONS, Learning, Lesson, MOST_LESSONS};
use aios_abi::{CallError, ErrorCode};
use aios_gguf::Free;
use book::Book;
use serde::Deserialize;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;

/// What the image has learned, in the folder of models: layer and adapter of the sentence encoder.
const CHOICE: &str = "choice.safetensors";
/// The image's questions: those that it was learned from, and others that measure.
const QUESTIONS: [&str; 2] = ["questions.jsonl", "measure.jsonl"];
/// Memory that learning takes, in bytes: measured 0.35 GB.
const MEMORY: u64 = 448 << 20;
/// Bytes of a question and of a tool's name.
const LONGEST: usize = 1_000;
const LONGEST_NAME: usize = 64;
/// How long a worker may take to load what was learned, and to answer with it.
const LOAD: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes that the trainer may say.
const MAX_SAID: u64 = 4 << 20;
/// Steps between two words about how far it is.
const TOLD: u64 = 10;

/// What chooses tools: the sentence encoder, and the layer over its vectors.
pub struct Chooser {
    /// The encoder's engine.
    pub embed: Engine,
    /// The layer.
    pub head: Option<Head>,
}

/// Starts the encoder's engine with what was learned in this file, or with what the image has learned.
pub type Make = Box<dyn Fn(Option<PathBuf>) -> Engine + Send + Sync>;

/// Where things are.
pub struct Place {
    /// The folder of what is learned here; without one nothing can be.
    pub folder: Option<PathBuf>,
    /// The program that learns.
    pub trainer: PathBuf,
    /// The image's models.
    pub models: PathBuf,
    /// Bytes of memory that may be taken; without it what the machine has free.
    pub free: Option<u64>,
    /// Starts engines.
    pub make: Make,
}

/// What was learned, and what of it is used.
pub struct Learned {
    chooser: RwLock<Arc<Chooser>>,
    place: Option<(Place, Mutex<Book>)>,
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    /// The machine is short of memory.
    shortage: Notify,
}

/// What the trainer says, a line each.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Said {
    Step { step: u64, steps: u64 },
    Learned { learned: Learning },
}

impl Learned {
    /// This encoder and this layer for ever.
    pub fn fixed(embed: Engine, head: Option<Head>) -> Arc<Self> {
        Arc::new(Self::new(Chooser { embed, head }, None))
    }

    /// Start the encoder's engine with what was learned here, if anything is used of it.
    pub fn start(place: Place) -> Arc<Self> {
        let base = book::name_of(&place.models.join(CHOICE));
        let book = match (&place.folder, base) {
            (Some(folder), Ok(base)) => std::fs::create_dir_all(folder)
                .map(|()| Book::open(folder, &base))
                .inspect_err(|e| tracing::warn!("{}: nothing can be learned: {e}", folder.display()))
                .ok(),
            _ => None,
        };
        let current = book.as_ref().and_then(|book| Some(book.file(book.page.adapted.current.as_ref()?)));
        if let Some(note) = book.as_ref().and_then(|book| book.page.adapted.note.as_ref()) {
            tracing::warn!("{note}");
        }
        let chooser = open(&place, current.as_deref());
        Arc::new(Self::new(chooser, book.map(|book| (place, Mutex::new(book)))))
    }

    fn new(chooser: Chooser, place: Option<(Place, Mutex<Book>)>) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { chooser: RwLock::new(Arc::new(chooser)), place, turn, shortage: Notify::new() }
    }

    /// What chooses tools now. Whoever has it keeps what is replaced meanwhile until the answer is complete.
    pub fn chooser(&self) -> Arc<Chooser> {
        self.chooser.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was learned.
    pub fn told(&self) -> Adapted {
        self.place.as_ref().map(|(_, book)| lock(book).page.adapted.clone()).unwrap_or_default()
    }

    /// The machine is short of memory: whether something was being learned, which ends now.
    pub(crate) fn give_way(&self) -> bool {
        let learns = self.turn.try_lock().is_err();
        self.shortage.notify_waiters();
        learns
    }

    fn place(&self) -> Result<(&Place, &Mutex<Book>), CallError> {
        let place = self.place.as_ref().map(|(place, book)| (place, book));
        place
            .ok_or_else(|| CallError::unavailable("nothing can be learned here: inferd has no folder for it"))
    }

    fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, CallError> {
        let busy =
            || CallError::new(ErrorCode::Busy, "something is being learned; try again when that is done");
        self.turn.try_lock().map_err(|_| busy())
    }

    /// Learn from what people approved. `tell` hears how far it is, in words and percent.
    ///
    /// Dropped before it ends, nothing has changed.
    ///
    /// # Errors
    /// What is wrong with the lessons, what learning lacks, and why it failed. That it is no better is none.
    pub async fn learn<F: Future<Output = Result<(), CallError>>>(
        &self,
        lessons: &[Lesson],
        tell: impl Fn(String, Option<u8>) -> F,
    ) -> Result<Adapted, CallError> {
        check(lessons)?;
        let (place, book) = self.place()?;
        let _turn = self.turn()?;
        let free = match place.free {
            Some(free) => free,
            None => Free::now()?.available,
        };
        if free < MEMORY {
            let (needs, free) = (MEMORY >> 20, free >> 20);
            return Err(CallError::unavailable(format!(
                "learning takes {needs} MiB of memory and {free} MiB are free; stop something first, or try at night"
            )));
        }
        let (current, draft) = {
            let book = lock(book);
            let current = book.page.adapted.current.as_ref().map(|name| book.file(name));
            (current.unwrap_or_else(|| place.models.join(CHOICE)), book.file("draft"))
        };
        let learning = self.train(place, &current, &draft, lessons, &tell).await?;
        let is_better = learning.is_better();
        let learning = Learning { at_ms: now_ms(), kept: is_better, ..learning };
        let adapted = lock(book).page.adapted.clone();
        if !is_better {
            let _ = std::fs::remove_file(&draft);
            let adapted = Adapted { last: Some(learning), ..adapted };
            lock(book).put(adapted.clone()).map_err(CallError::failed)?;
            return Ok(adapted);
        }
        let name = book::name_of(&draft).map_err(CallError::failed)?;
        let file = lock(book).file(&name);
        std::fs::rename(&draft, file)?;
        tell("it is better and is being taken into use".into(), None).await?;
        self.take(place, book, Some(name), Some(learning)).await
    }

    /// Use something else that was learned, or only what the image has learned.
    ///
    /// # Errors
    /// There is no such thing, or no worker answers with it; what was used before still is.
    pub async fn adapt(&self, to: Option<String>) -> Result<Adapted, CallError> {
        let (place, book) = self.place()?;
        let _turn = self.turn()?;
        if lock(book).page.adapted.current == to {
            return Ok(self.told());
        }
        if let Some(name) = &to {
            lock(book).check(name).map_err(|why| {
                CallError::not_found(format!("what was learned as {name} cannot be used: {why}"))
            })?;
        }
        self.take(place, book, to, None).await
    }

    /// Start an engine with it, ask it something, and put it in the place of the one before.
    async fn take(
        &self,
        place: &Place,
        book: &Mutex<Book>,
        name: Option<String>,
        last: Option<Learning>,
    ) -> Result<Adapted, CallError> {
        let file = name.as_ref().map(|name| lock(book).file(name));
        let chooser = open(place, file.as_deref());
        match examine(&chooser).await {
            Err(error) if file.is_some() => {
                let (code, why) = (error.code, error.message);
                let what = format!("what was learned is not used: {why}; what was used before stays");
                return Err(CallError::new(code, what));
            }
            // The image's own must do. Until here the one before has answered.
            _ => {}
        }
        // From here on nothing waits, so that nothing is torn apart.
        let mut book = lock(book);
        let before = book.page.adapted.clone();
        let adapted =
            Adapted { current: name, previous: before.current, last: last.or(before.last), note: None };
        book.put(adapted.clone()).map_err(CallError::failed)?;
        book.tidy();
        *self.chooser.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chooser);
        Ok(adapted)
    }

    /// Have the trainer learn, and hear what came of it.
    async fn train<F: Future<Output = Result<(), CallError>>>(
        &self,
        place: &Place,
        current: &Path,
        draft: &Path,
        lessons: &[Lesson],
        tell: &impl Fn(String, Option<u8>) -> F,
    ) -> Result<Learning, CallError> {
        let file = draft.with_file_name("lessons.jsonl");
        let written = write(&file, lessons);
        let [again, old] = QUESTIONS.map(|name| place.models.join(name));
        let mut command = Command::new(&place.trainer);
        command.arg("approved").arg("--model").arg(place.models.join("embed")).arg("--from").arg(current);
        command.arg("--lessons").arg(&file).arg("--again").arg(again).arg("--old").arg(old);
        command.arg("--out").arg(draft).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let trained = async {
            written?;
            let mut child = command.spawn().map_err(|e| {
                CallError::unavailable(format!("{} cannot be started: {e}", place.trainer.display()))
            })?;
            let output = child.stdout.take().ok_or_else(|| CallError::failed("the trainer has no output"))?;
            let mut lines = BufReader::new(output.take(MAX_SAID)).lines();
            tell(format!("learning from {} approved calls", lessons.len()), Some(0)).await?;
            let mut came = None;
            while let Some(line) = lines.next_line().await? {
                match serde_json::from_str(&line) {
                    Ok(Said::Step { step, steps }) if step.is_multiple_of(TOLD) => {
                        let percent = u8::try_from(step.saturating_mul(100) / steps.max(1)).unwrap_or(100);
                        tell(format!("step {step} of {steps}"), Some(percent.min(100))).await?;
                    }
                    Ok(Said::Step { .. }) => {}
                    Ok(Said::Learned { learned }) => came = Some(learned),
                    Err(e) => return Err(CallError::failed(format!("the trainer said {line:?}: {e}"))),
                }
            }
            let status = child.wait().await?;
            match came {
                Some(learning) if status.success() => Ok(learning),
                _ => {
                    Err(CallError::failed(format!("learning failed ({status}); the log of inferd says why")))
                }
            }
        };
        let result = tokio::select! {
            result = trained => result,
            () = self.shortage.notified() => {
                Err(CallError::unavailable("learning was stopped, because the machine is short of memory"))
            }
        };
        // These are people's words.
        let _ = std::fs::remove_file(file);
        if result.is_err() {
            let _ = std::fs::remove_file(draft);
        }
        result
    }
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    // Nothing in the critical sections can panic half-way.
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Engine and layer of this file, or those of the image.
fn open(place: &Place, learned: Option<&Path>) -> Chooser {
    let own = place.models.join(CHOICE);
    let head = Head::read(learned.unwrap_or(&own)).unwrap_or_else(|why| {
        tracing::warn!("tools are chosen by their sentences alone: {why}");
        None
    });
    Chooser { embed: (place.make)(learned.map(Path::to_owned)), head }
}

/// Whether lessons can be learned from.
fn check(lessons: &[Lesson]) -> Result<(), CallError> {
    if !(LEAST_LESSONS..=MOST_LESSONS).contains(&lessons.len()) {
        return Err(CallError::invalid(format!(
            "{} approved calls are to be learned from; {LEAST_LESSONS} to {MOST_LESSONS} can be",
            lessons.len()
        )));
    }
    let is_name = |name: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        !name.is_empty() && name.len() <= LONGEST_NAME && name.bytes().all(plain)
    };
    match lessons.iter().find(|lesson| lesson.ask.len() > LONGEST || !is_name(&lesson.tool)) {
        Some(Lesson { ask, tool }) => {
            let ask = &ask[..ask.floor_char_boundary(80)];
            Err(CallError::invalid(format!("{ask:?} for the tool {tool:?} cannot be learned from")))
        }
        None => Ok(()),
    }
}

/// For nobody else to read.
fn write(path: &Path, lessons: &[Lesson]) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    for lesson in lessons {
        serde_json::to_writer(&mut file, lesson)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// Whether a worker answers with it, and the layer understands the answer.
async fn examine(chooser: &Chooser) -> Result<(), CallError> {
    let Some(head) = &chooser.head else {
        return Err(CallError::failed("there is no layer in its file"));
    };
    models::ready(&chooser.embed, LOAD, |_| std::future::ready(Ok(()))).await.map_err(|why| match why {
        Unready::Absent(why) => CallError::unavailable(why),
        Unready::Broken(error) => error,
    })?;
    let order = Order {
        class: Class::Person,
        caller: Caller { uid: rustix::process::geteuid().as_raw(), person: None },
        until: Instant::now() + ANSWER,
        weight: 1,
    };
    let work = Work::Embed { texts: vec!["how much memory is free?".into()], adapted: true };
    let mut job = chooser.embed.submit(order, work);
    loop {
        match job.next().await? {
            Delivery::Queued { .. } | Delivery::Started => {}
            Delivery::Embeddings(vectors) => {
                let adapter = chooser.embed.snapshot().adapter;
                let fits = adapter.is_some_and(|adapter| head.encoder() == Some(&adapter.name));
                let judged = vectors.first().is_some_and(|vector| {
                    head.judge(vector, std::iter::empty()).iter().any(|(_, likely)| likely.is_finite())
                });
                return match fits && judged {
                    true => Ok(()),
                    false => Err(CallError::failed("layer and adapter do not belong together")),
                };
            }
            other => return Err(CallError::failed(format!("it answered with {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lessons(count: usize) -> Vec<Lesson> {
        (0..count).map(|n| Lesson { ask: format!("do {n}"), tool: "fs.copy".into() }).collect()
    }

    #[test]
    fn lessons_that_are_too_few_or_none_are_refused() {
        assert!(check(&lessons(LEAST_LESSONS)).is_ok());
        assert!(
            check(&lessons(LEAST_LESSONS - 1)).is_err_and(|e| e.message.starts_with("19 approved calls"))
        );
        assert!(check(&lessons(MOST_LESSONS + 1)).is_err());
        for (ask, tool) in [("x".repeat(LONGEST + 1), "fs.copy"), ("x".into(), "a b"), ("x".into(), "")] {
            let mut all = lessons(LEAST_LESSONS);
            all.push(Lesson { ask, tool: tool.into() });
            assert!(check(&all).is_err(), "{tool:?}");
        }
    }

    #[test]
    fn it_is_better_when_it_knows_more_and_forgot_next_to_nothing() {
        let learning = |knew, knows, old_knew, old_knows| Learning {
            held: 10,
            old: 200,
            knew,
            knows,
            old_knew,
            old_knows,
            ..Learning::default()
        };
        assert!(learning(5, 6, 180, 180).is_better());
        assert!(learning(5, 6, 180, 179).is_better());
        assert!(!learning(5, 6, 180, 178).is_better(), "it has forgotten");
        assert!(!learning(5, 5, 180, 190).is_better(), "it knows no more");
    }
}
