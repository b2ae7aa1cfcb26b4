//! The loop in which an encoder learns to read arguments, and the measure of what it learned.

use super::average::Average;
use super::choice::Progress;
use super::lessons::Question;
use super::train::schedule;
use crate::encoder::{Encoder, Implied, Reader, Row, Sheet};
use aios_words::reading::{self, Guess};
use aios_words::schema::{Arguments, Shape};
use candle_core::Result;
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tokenizers::Tokenizer;

/// How often a value must be meant without being said before it becomes an option.
const OFTEN: usize = 3;

/// Sheets that are measured at once.
const MEASURED: usize = 32;

/// The arguments of all tools, by name.
pub type Tools = HashMap<String, Arguments>;

/// How to learn.
#[derive(Debug, Clone, Copy)]
pub struct Readings {
    /// How often each question is taken.
    pub epochs: usize,
    /// Questions of one step.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f64,
}

/// A question with the form of its tool, and what is right for each blank of which that is known.
pub struct Exercise {
    sheet: Sheet,
    /// Their sheet counts from 0.
    rows: Vec<Row>,
}

/// What held-back questions say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// How many there were.
    pub count: usize,
    /// For how many all arguments were right.
    pub whole: usize,
    /// Blanks of all, and how many were right.
    pub blanks: (usize, usize),
    /// Questions, and how many were right, by tenths of how sure the least sure blank was.
    pub tenths: [(usize, usize); 10],
}

/// A question that was not read as it should be.
pub struct Missed<'a> {
    /// The question, and what is right.
    pub question: &'a Question,
    /// What was read.
    pub args: &'a Map<String, Value>,
    /// How sure the least sure blank was.
    pub sure: f32,
}

/// Values that questions mean without saying them.
pub fn implied(questions: &[Question], tools: &Tools) -> Implied {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for question in questions {
        let Some((tool, arguments)) = known(question, tools) else { continue };
        for field in &arguments.fields {
            let Some(value) = question.args.get(&field.name) else { continue };
            if matches!(field.shape, Shape::Text | Shape::Pattern(_) | Shape::Whole { .. })
                && reading::places(&question.ask, field, value).is_empty()
            {
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                *counts.entry((format!("{tool}.{}", field.name), word)).or_default() += 1;
            }
        }
    }
    let mut implied = Implied::new();
    for ((place, word), count) in counts {
        // An empty text or one of several lines cannot be pointed at.
        if count >= OFTEN && !word.trim().is_empty() && !word.contains('\n') {
            implied.entry(place).or_default().push(word);
        }
    }
    implied
}

fn known<'a>(question: &'a Question, tools: &'a Tools) -> Option<(&'a str, &'a Arguments)> {
    let tool = question.tool.as_deref()?;
    Some((tool, tools.get(tool)?))
}

impl Exercise {
    /// Tokens of its sheet.
    pub fn tokens(&self) -> usize {
        self.sheet.len()
    }

    /// The question with its tool's form; nothing when it means no tool, or one without arguments.
    ///
    /// # Errors
    /// Those of [`Sheet::of`].
    pub fn of(
        tokenizer: &Tokenizer,
        question: &Question,
        tools: &Tools,
        implied: &Implied,
    ) -> std::result::Result<Option<Self>, String> {
        let Some((tool, arguments)) = known(question, tools) else { return Ok(None) };
        let form = reading::form(tool, arguments, &Map::new());
        let sheet = Sheet::of(tokenizer, &form, implied, &question.ask)?;
        let mut rows = Vec::new();
        for (blank, name) in form.blanks.iter().map(|blank| &blank.name).enumerate() {
            let Some(field) = reading::field_of(arguments, name) else { continue };
            let mut add = |places: Vec<(usize, usize)>| {
                if !places.is_empty() {
                    let (starts, ends) = places.into_iter().unzip();
                    rows.push(Row { sheet: 0, blank, starts, ends });
                }
            };
            match reading::values_of(&question.args, name).as_slice() {
                [] => add(vec![(0, 0)]),
                values => {
                    values.iter().for_each(|value| add(right(&sheet, blank, &question.ask, field, value)))
                }
            }
        }
        Ok((!rows.is_empty()).then_some(Self { sheet, rows }))
    }
}

/// The places of a sheet that say this value.
fn right(
    sheet: &Sheet,
    blank: usize,
    question: &str,
    field: &aios_words::schema::Field,
    value: &Value,
) -> Vec<(usize, usize)> {
    let options: Vec<&str> = sheet.options(blank).collect();
    let said = if sheet.is_open(blank) { reading::places(question, field, value) } else { Vec::new() };
    let from = 1 + options.len();
    let token = |range: std::ops::Range<usize>| {
        let touches =
            |(start, end): &(u32, u32)| (*start as usize) < range.end && range.start < *end as usize;
        let first = sheet.offsets().iter().position(touches)?;
        Some((from + first, from + sheet.offsets().iter().rposition(touches)?))
    };
    let places: Vec<(usize, usize)> = said.into_iter().filter_map(token).collect();
    if !places.is_empty() {
        return places;
    }
    let option = options.iter().position(|word| reading::option(&field.shape, word).as_ref() == Some(value));
    option.map(|n| (1 + n, 1 + n)).into_iter().collect()
}

/// Learn from exercises; `told` hears the step, how many there are and the loss, and at the end of an epoch what was
/// learned until then.
///
/// # Errors
/// Those of the arithmetic: too little memory, most likely.
pub fn learn(
    encoder: &Encoder,
    reader: &Reader,
    exercises: &[Exercise],
    how: &Readings,
    random: &mut fastrand::Rng,
    told: &mut dyn FnMut(Progress<'_, Reader>) -> Result<()>,
) -> Result<Reader> {
    let parameters = ParamsAdamW { lr: how.rate, beta2: 0.98, weight_decay: 0.01, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(reader.variables(), parameters)?;
    let mut average = Average::of(reader.variables(), 200.0)?;
    let each = exercises.len().div_ceil(how.batch.max(1));
    let (mut step, steps) = (0, how.epochs * each);
    let mut order: Vec<&Exercise> = exercises.iter().collect();
    for _ in 0..how.epochs {
        random.shuffle(&mut order);
        for batch in order.chunks(how.batch.max(1)) {
            optimizer.set_learning_rate(how.rate * schedule(step as f64 / steps as f64, 0.05));
            let sheets: Vec<&Sheet> = batch.iter().map(|exercise| &exercise.sheet).collect();
            let of = |(sheet, exercise): (usize, &&Exercise)| {
                let row = |row: &Row| Row {
                    sheet,
                    blank: row.blank,
                    starts: row.starts.clone(),
                    ends: row.ends.clone(),
                };
                exercise.rows.iter().map(row).collect::<Vec<_>>()
            };
            let rows: Vec<Row> = batch.iter().enumerate().flat_map(of).collect();
            let loss = reader.loss(encoder, &sheets, &rows, Some((0.1, random)))?;
            optimizer.backward_step(&loss)?;
            step += 1;
            average.add()?;
            let now = if step % each == 0 { Some(reader.with(average.mean())?) } else { None };
            let loss = f64::from(loss.to_scalar::<f32>()?);
            told(Progress { step, steps, loss, learned: now.as_ref() })?;
        }
    }
    reader.with(average.mean())
}

/// The arguments that are likeliest, and how likely the least sure of them is.
pub fn filled(
    question: &str,
    arguments: &Arguments,
    form: &aios_abi::engine::Form,
    read: &aios_abi::engine::Reading,
) -> (Map<String, Value>, f32) {
    let (mut args, mut sure) = (Map::new(), 1.0f32);
    let read = reading::read(question, arguments, form, read);
    if read.len() < arguments.fields.len() {
        sure = 0.0;
    }
    for (name, guesses) in read {
        let Some(Guess { value, likely }) = guesses.into_iter().next() else { continue };
        sure = sure.min(likely);
        if let Some(value) = value {
            args.insert(name, value);
        }
    }
    (args, sure)
}

/// How well held-back questions are read; `missed` hears those that were not.
///
/// # Errors
/// Those of the arithmetic and of [`Sheet::of`].
pub fn measure(
    encoder: &Encoder,
    tokenizer: &Tokenizer,
    reader: &Reader,
    questions: &[Question],
    tools: &Tools,
    missed: &mut dyn FnMut(Missed<'_>),
) -> Result<Score> {
    let mut score = Score::default();
    let known: Vec<_> = questions.iter().filter_map(|q| known(q, tools).map(|known| (q, known))).collect();
    for part in known.chunks(MEASURED) {
        let forms: Vec<_> =
            part.iter().map(|(_, (tool, arguments))| reading::form(tool, arguments, &Map::new())).collect();
        let sheets = part.iter().zip(&forms).map(|((question, _), form)| {
            Sheet::of(tokenizer, form, &reader.implied, &question.ask).map_err(candle_core::Error::msg)
        });
        let sheets = sheets.collect::<Result<Vec<_>>>()?;
        let read = reader.readings(encoder, &sheets.iter().collect::<Vec<_>>())?;
        for (((question, (_, arguments)), form), read) in part.iter().zip(&forms).zip(&read) {
            let (args, sure) = filled(&question.ask, arguments, form, read);
            for field in &arguments.fields {
                score.blanks.0 += 1;
                score.blanks.1 += usize::from(args.get(&field.name) == question.args.get(&field.name));
            }
            let is_right = args == question.args;
            score.count += 1;
            score.whole += usize::from(is_right);
            let (all, right) = &mut score.tenths[((sure * 10.0) as usize).min(9)];
            *all += 1;
            *right += usize::from(is_right);
            if !is_right {
                missed(Missed { question, args: &args, sure });
            }
        }
    }
    Ok(score)
}

/// Write a reader as safetensors: the adapter as [`Learned::write`](super::Learned::write) has it, the pointers, and
/// what questions imply as `implied`.
///
/// # Errors
/// Those of the file.
pub fn write(reader: &Reader, encoder: &Encoder, tools: &Tools, path: &Path) -> Result<()> {
    let mut about = reader.adapter.about(encoder)?;
    let mut names: Vec<&str> = tools.keys().map(String::as_str).collect();
    names.sort_unstable();
    about.insert("tools".to_owned(), names.join(" "));
    about.insert(
        "implied".to_owned(),
        serde_json::to_string(&reader.implied).map_err(candle_core::Error::wrap)?,
    );
    let part = path.with_extension("part");
    safetensors::serialize_to_file(reader.written()?, Some(about), &part)
        .map_err(candle_core::Error::wrap)?;
    Ok(std::fs::rename(part, path)?)
}
