//! One context of the model, in which several conversations are computed together.
//!
//! Each slot is a sequence of its own. What a slot remembers of its last request stays until the room is
//! needed: a request that begins with the same tokens goes on from there, also with those of a slot that
//! works on something else (the cells are shared, not copied).

use crate::model::Vocabulary;
use aios_abi::{CallError, ErrorCode};
use aios_engine::{Next, Told, Writer, log_probability};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::token::LlamaToken;

/// Requests that are worked on at once: four of people, and what inferd keeps for incidents and for them.
pub(crate) const SLOTS: usize = 6;
/// Continuations that are judged at once; each has a sequence of its own, after those of the slots.
pub(crate) const JUDGED: usize = 8;
/// Tokens that are computed at once; between two such batches requests come in and are cancelled.
pub(crate) const BATCH: usize = 512;

/// Makes a context that computes with so many threads.
pub(crate) type Maker = Box<dyn Fn(u32) -> Result<LlamaContext<'static>, String>>;

/// A context and the requests in it.
pub(crate) struct Lane {
    make: Maker,
    context: LlamaContext<'static>,
    slots: Vec<Slot>,
    /// Tokens that it holds.
    size: usize,
    clock: u64,
}

#[derive(Default)]
struct Slot {
    /// What its sequence remembers, token by token.
    past: Vec<LlamaToken>,
    job: Option<Job>,
    /// When it was last given a request.
    used: u64,
}

/// A request under way.
pub(crate) struct Job {
    pub(crate) id: u64,
    /// Tokens that are still to be computed.
    pub(crate) pending: Vec<LlamaToken>,
    /// Tokens that it can have at most.
    pub(crate) need: usize,
    /// Tokens of its prompt that were still known.
    pub(crate) reused: u32,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Text that must come first whatever the model says, and what writes the rest.
    Writing(String, Box<Writer>),
    /// Continuations, none of them empty.
    Scoring(Vec<Vec<LlamaToken>>),
}

/// A slot whose tokens are computed, and where the logits of the last one are.
struct Ready {
    slot: usize,
    logits: i32,
}

impl Lane {
    /// A lane for so many tokens.
    ///
    /// # Errors
    /// The context cannot be made, in a sentence.
    pub(crate) fn new(make: Maker, size: u32, threads: u32) -> Result<Self, String> {
        let context = make(threads)?;
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Ok(Self { make, context, slots, size: size as usize, clock: 0 })
    }

    /// Go on with another number of threads. A context keeps the one that it was made with, so what the slots remember is
    /// forgotten, and computed once more for requests under way. Nothing changes when there is no memory for another context.
    pub(crate) fn set_threads(&mut self, threads: u32) {
        match (self.make)(threads) {
            Ok(context) => {
                self.context = context;
                for slot in &mut self.slots {
                    let mut known = std::mem::take(&mut slot.past);
                    if let Some(job) = &mut slot.job {
                        known.append(&mut job.pending);
                        job.pending = known;
                    }
                }
            }
            Err(why) => eprintln!("<4>the number of threads stays as it is: {why}"),
        }
    }

    /// Whether it works on something.
    pub(crate) fn is_busy(&self) -> bool {
        self.slots.iter().any(|slot| slot.job.is_some())
    }

    /// Tokens that it holds.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Take in a request whose `pending` is all of its prompt; false when there is no room now.
    pub(crate) fn begin(&mut self, mut job: Job) -> bool {
        let taken: usize = self.slots.iter().filter_map(|slot| Some(slot.job.as_ref()?.need)).sum();
        let common = |slot: &Slot| slot.past.iter().zip(&job.pending).take_while(|(a, b)| a == b).count();
        let free = self.slots.iter().enumerate().filter(|(_, slot)| slot.job.is_none());
        let Some((index, own)) = free
            .map(|(index, slot)| (index, common(slot), slot.used))
            // Of equals the one that was not used for longest.
            .max_by_key(|(_, common, used)| (*common, u64::MAX - used))
            .map(|(index, common, _)| (index, common))
            .filter(|_| taken + job.need <= self.size)
        else {
            return false;
        };
        let other = self.slots.iter().map(common).enumerate().max_by_key(|(_, common)| *common);
        let mut known = own;
        if let Some((other, common)) = other
            && common > own
        {
            self.forget(index, 0);
            let past: Vec<LlamaToken> = self.slots[other].past[..common].to_vec();
            let copied = u32::try_from(common).is_ok_and(|end| {
                self.context.copy_kv_cache_seq(sequence(other), sequence(index), Some(0), Some(end)).is_ok()
            });
            if copied {
                self.slots[index].past = past;
                known = common;
            }
        }
        // The last token is computed in any case: its logits are needed.
        let known = known.min(job.pending.len().saturating_sub(1));
        self.forget(index, known);
        let known = self.slots[index].past.len();
        job.pending.drain(..known);
        job.reused = u32::try_from(known).unwrap_or(u32::MAX);
        self.clock += 1;
        self.slots[index].used = self.clock;
        self.slots[index].job = Some(job);
        true
    }

    /// Forget a request; what was computed of it stays known.
    pub(crate) fn end(&mut self, id: u64) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.job.as_ref().is_some_and(|j| j.id == id)) {
            slot.job = None;
        }
    }

    /// Compute one batch of tokens and go on with every request whose tokens are all computed.
    pub(crate) fn step(&mut self, vocabulary: &Vocabulary, tell: &mut dyn FnMut(u64, Told)) {
        if !self.is_busy() {
            return;
        }
        let ready = match self.compute() {
            Ok(ready) => ready,
            Err(error) => {
                self.context.clear_kv_cache();
                for slot in &mut self.slots {
                    slot.past.clear();
                    if let Some(job) = slot.job.take() {
                        tell(job.id, Told::Failed(error.clone()));
                    }
                }
                return;
            }
        };
        // All logits are read before the continuations are computed, which takes their place.
        let mut scoring = Vec::new();
        for Ready { slot: index, logits } in ready {
            let logits = self.context.get_logits_ith(logits);
            let slot = &mut self.slots[index];
            let Some(job) = &mut slot.job else { continue };
            let id = job.id;
            let end = match &mut job.kind {
                Kind::Scoring(continuations) => {
                    let first = |words: &Vec<LlamaToken>| words.first().map_or(0.0, |w| at(logits, *w));
                    scoring.push((index, continuations.iter().map(first).collect()));
                    continue;
                }
                Kind::Writing(first, writer) => {
                    if !first.is_empty() {
                        tell(id, Told::Text(std::mem::take(first)));
                    }
                    match writer.next(logits, vocabulary, &mut |text| tell(id, Told::Text(text.to_owned()))) {
                        Ok(Next::Tokens(tokens)) => {
                            job.pending = tokens.into_iter().map(token).collect();
                            continue;
                        }
                        Ok(Next::End) => Told::Done(writer.cost(job.reused)),
                        Err(error) => Told::Failed(error),
                    }
                }
            };
            slot.job = None;
            tell(id, end);
        }
        for (index, first) in scoring {
            let Some(Job { id, kind: Kind::Scoring(continuations), .. }) = self.slots[index].job.take()
            else {
                continue;
            };
            let end = match self.judge(index, &continuations, first) {
                Ok(scores) => Told::Scores(scores),
                Err(error) => Told::Failed(error),
            };
            tell(id, end);
        }
    }

    /// One batch: first those that need little, which write, then as much of the prompts as has room.
    fn compute(&mut self) -> Result<Vec<Ready>, CallError> {
        let mut order: Vec<(usize, usize)> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((slot.job.as_ref()?.pending.len(), index)))
            .collect();
        order.sort_unstable();
        let mut batch = LlamaBatch::new(BATCH, 1);
        let (mut parts, mut ready) = (Vec::new(), Vec::new());
        for (pending, index) in order {
            let count = pending.min(BATCH - batch.n_tokens() as usize);
            let slot = &self.slots[index];
            let Some(job) = &slot.job else { continue };
            for (n, token) in job.pending[..count].iter().enumerate() {
                let is_last = n + 1 == pending;
                if is_last {
                    ready.push(Ready { slot: index, logits: batch.n_tokens() });
                }
                add(&mut batch, *token, slot.past.len() + n, index, is_last)?;
            }
            parts.push((index, count));
        }
        self.make_room(batch.n_tokens() as usize)?;
        self.context.decode(&mut batch).map_err(|e| failed(&e))?;
        for (index, count) in parts {
            let slot = &mut self.slots[index];
            if let Some(job) = &mut slot.job {
                slot.past.extend(job.pending.drain(..count));
            }
        }
        Ok(ready)
    }

    /// Forget what idle slots remember, the longest unused first, until so many tokens have room.
    fn make_room(&mut self, tokens: usize) -> Result<(), CallError> {
        while self.slots.iter().map(|slot| slot.past.len()).sum::<usize>() + tokens > self.size {
            let idle = self.slots.iter().enumerate().filter(|(_, s)| s.job.is_none() && !s.past.is_empty());
            let Some((index, _)) = idle.min_by_key(|(_, slot)| slot.used) else {
                return Err(CallError::new(ErrorCode::Busy, "the model's context is full; ask again later"));
            };
            self.forget(index, 0);
        }
        Ok(())
    }

    /// The natural logarithm of each continuation's probability after what the slot remembers, of which
    /// those of the first tokens are known.
    fn judge(
        &mut self,
        slot: usize,
        continuations: &[Vec<LlamaToken>],
        first: Vec<f32>,
    ) -> Result<Vec<f32>, CallError> {
        let mut scores = first;
        let start = self.slots[slot].past.len();
        let end = u32::try_from(start).map_err(|e| failed(&e))?;
        let longer: Vec<usize> = (0..continuations.len()).filter(|n| continuations[*n].len() > 1).collect();
        for chunk in longer.chunks(JUDGED) {
            let count = chunk.iter().map(|n| continuations[*n].len() - 1).sum();
            self.make_room(count)?;
            let mut batch = LlamaBatch::new(count, 1);
            let mut places = Vec::new();
            for (n, continuation) in chunk.iter().copied().enumerate() {
                let own = SLOTS + n;
                self.context
                    .copy_kv_cache_seq(sequence(slot), sequence(own), Some(0), Some(end))
                    .map_err(|e| failed(&e))?;
                for (place, pair) in continuations[continuation].windows(2).enumerate() {
                    places.push((batch.n_tokens(), continuation, pair[1]));
                    add(&mut batch, pair[0], start + place, own, true)?;
                }
            }
            let computed = self.context.decode(&mut batch).map_err(|e| failed(&e));
            if computed.is_ok() {
                for (logits, continuation, word) in places {
                    scores[continuation] += at(self.context.get_logits_ith(logits), word);
                }
            }
            for n in 0..chunk.len() {
                let own = u32::try_from(SLOTS + n).map_err(|e| failed(&e))?;
                let _ = self.context.clear_kv_cache_seq(Some(own), None, None);
            }
            computed?;
        }
        Ok(scores)
    }

    /// Let a slot remember no more than so many tokens.
    fn forget(&mut self, index: usize, from: usize) {
        let slot = &mut self.slots[index];
        if from >= slot.past.len() {
            return;
        }
        let (own, start) = (u32::try_from(index).ok(), u32::try_from(from).ok());
        // Some architectures cannot forget a part; then everything is computed anew.
        if matches!(self.context.clear_kv_cache_seq(own, start, None), Ok(true)) {
            slot.past.truncate(from);
        } else {
            let _ = self.context.clear_kv_cache_seq(own, None, None);
            slot.past.clear();
        }
    }
}

fn add(
    batch: &mut LlamaBatch,
    token: LlamaToken,
    place: usize,
    slot: usize,
    logits: bool,
) -> Result<(), CallError> {
    let place = i32::try_from(place).map_err(|e| failed(&e))?;
    batch.add(token, place, &[sequence(slot)], logits).map_err(|e| failed(&e))
}

/// A sequence's number.
fn sequence(slot: usize) -> i32 {
    i32::try_from(slot).unwrap_or(0)
}

pub(crate) fn token(id: u32) -> LlamaToken {
    LlamaToken::new(i32::try_from(id).unwrap_or(0))
}

fn at(logits: &[f32], word: LlamaToken) -> f32 {
    log_probability(logits, u32::try_from(word.0).unwrap_or(u32::MAX))
}

fn failed(what: &dyn std::fmt::Display) -> CallError {
    CallError::failed(format!("llama.cpp could not compute: {what}"))
}
