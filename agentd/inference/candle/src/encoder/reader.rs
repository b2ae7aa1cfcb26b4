//! A sentence encoder that reads: given the names of a tool's arguments and a question, it points at the words of the
//! question that belong to each.
//!
//! Form and question are one sentence for the encoder; an adapter lets it see both together. For each blank the
//! vector of its name is compared with those of the places that may belong there (Vinyals et al., "Pointer Networks",
//! 2015), once for where a value begins and once for where it ends. The first token of all stands for "nothing".

use super::adapter::Adapter;
use super::{Encoder, MAX_TOKENS, Tokens};
use aios_abi::engine::{Adapter as Known, Blank, Form, Pointed, Reading};
use candle_core::{D, DType, Device, Result, Tensor, Var};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::ops::Range;
use tokenizers::Tokenizer;

/// Numbers that are compared.
const WIDTH: usize = 128;

/// What a place that does not belong to a blank has as its logarithm.
const NEVER: f32 = -1e9;

/// Names of the pointers' matrices in the file.
const POINTERS: [&str; 4] = ["start.blank", "start.place", "end.blank", "end.place"];

/// Values that are meant though the question does not say them, such as 0 for "never", by `tool.argument`.
pub type Implied = BTreeMap<String, Vec<String>>;

/// What was learned.
pub struct Reader {
    pub(crate) adapter: Adapter,
    /// In the order of [`POINTERS`].
    pointers: [Var; 4],
    /// What is meant without being said.
    pub implied: Implied,
}

/// A form and a question as tokens.
pub struct Sheet {
    tokens: Vec<u32>,
    blanks: Vec<Place>,
    /// The question's tokens.
    question: Range<usize>,
    /// Where each of these stands in the question, in bytes.
    offsets: Vec<(u32, u32)>,
}

/// Where a blank is on its sheet.
struct Place {
    /// The first token of its name.
    name: usize,
    /// The first token of each of its options, with the option.
    options: Vec<(usize, String)>,
    /// Whether words of the question may stand in it.
    open: bool,
}

impl Sheet {
    /// Write the form and the question side by side. A question that is too long for the encoder loses its end.
    ///
    /// # Errors
    /// The tokenizer's own, and a form that leaves no room for a question.
    pub fn of(
        tokenizer: &Tokenizer,
        form: &Form,
        implied: &Implied,
        question: &str,
    ) -> std::result::Result<Self, String> {
        let special =
            |name: &str| tokenizer.token_to_id(name).ok_or(format!("the encoder has no token {name}"));
        let (begin, between) = (special("[CLS]")?, special("[SEP]")?);
        let plain = |text: &str| {
            let encoded = tokenizer.encode(text, false).map_err(|e| e.to_string())?;
            Ok::<_, String>(encoded)
        };
        let mut tokens = vec![begin];
        tokens.extend(plain(&form.tool.replace(['.', '_'], " "))?.get_ids());
        let mut blanks = Vec::with_capacity(form.blanks.len());
        for Blank { name, options, open } in &form.blanks {
            tokens.extend(plain(";")?.get_ids());
            let at = tokens.len();
            // Of `peers.public_key` the first token, which stands for all, is its own.
            let words: Vec<&str> = name.rsplit('.').collect();
            tokens.extend(plain(&words.join(" ").replace('_', " "))?.get_ids());
            let extra = implied.get(&format!("{}.{name}", form.tool)).filter(|_| *open);
            let mut places = Vec::new();
            for (n, option) in options.iter().chain(extra.into_iter().flatten()).enumerate() {
                tokens.extend(plain(if n == 0 { ":" } else { "," })?.get_ids());
                places.push((tokens.len(), option.clone()));
                tokens.extend(plain(&option.replace('_', " "))?.get_ids());
            }
            blanks.push(Place { name: at, options: places, open: *open });
        }
        tokens.push(between);
        let from = tokens.len();
        let room = (MAX_TOKENS - 1).checked_sub(from).filter(|room| *room > 0);
        let room = room.ok_or_else(|| format!("the arguments of {} are too many to be read", form.tool))?;
        let encoded = plain(question)?;
        let count = encoded.get_ids().len().min(room);
        tokens.extend(&encoded.get_ids()[..count]);
        let offsets =
            encoded.get_offsets()[..count].iter().map(|(from, to)| (*from as u32, *to as u32)).collect();
        tokens.push(between);
        Ok(Self { tokens, blanks, question: from..from + count, offsets })
    }

    /// Where the question's tokens stand.
    pub fn offsets(&self) -> &[(u32, u32)] {
        &self.offsets
    }

    /// The options of a blank, in their order.
    pub fn options(&self, blank: usize) -> impl Iterator<Item = &str> {
        self.blanks[blank].options.iter().map(|(_, option)| option.as_str())
    }

    /// Whether words of the question may stand in a blank.
    pub fn is_open(&self, blank: usize) -> bool {
        self.blanks[blank].open
    }

    /// Tokens in all.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The places that may belong to a blank: nothing, its options, the words of the question.
    fn allowed(&self, blank: usize) -> Vec<usize> {
        let Place { options, open, .. } = &self.blanks[blank];
        let words = if *open { self.question.clone() } else { 0..0 };
        std::iter::once(0).chain(options.iter().map(|(at, _)| *at)).chain(words).collect()
    }
}

/// A blank of one of several sheets, and which of the places allowed to it are right.
pub struct Row {
    /// Which sheet.
    pub sheet: usize,
    /// Which of its blanks.
    pub blank: usize,
    /// Places where the value begins, counted as in [`Pointed`].
    pub starts: Vec<usize>,
    /// Places where it ends.
    pub ends: Vec<usize>,
}

impl Reader {
    /// One that has not learned anything.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(encoder: &Encoder, rank: usize, implied: Implied, random: &mut fastrand::Rng) -> Result<Self> {
        let adapter = Adapter::new(encoder, rank, random)?;
        let bound = (3.0 / encoder.width() as f32).sqrt();
        let mut matrix = || {
            let count = WIDTH * encoder.width();
            let values: Vec<f32> = (0..count).map(|_| (random.f32() * 2.0 - 1.0) * bound).collect();
            Var::from_tensor(&Tensor::from_vec(values, (WIDTH, encoder.width()), &Device::Cpu)?)
        };
        let pointers = [matrix()?, matrix()?, matrix()?, matrix()?];
        Ok(Self { adapter, pointers, implied })
    }

    /// The same, to be learned on.
    ///
    /// # Errors
    /// Too little memory.
    pub fn learning(self) -> Result<Self> {
        Ok(Self { adapter: self.adapter.learning()?, ..self })
    }

    /// What is in these bytes, as [`written`](Self::written).
    ///
    /// # Errors
    /// One sentence: what is missing, does not fit this encoder, or is no number.
    pub fn read(encoder: &Encoder, bytes: &[u8]) -> std::result::Result<(Known, Self), String> {
        let (known, adapter) =
            Adapter::read(encoder, bytes)?.ok_or("has no adapter for a sentence encoder")?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let implied = header.metadata().as_ref().and_then(|about| about.get("implied"));
        let implied = implied.ok_or("does not say what questions imply")?;
        let implied =
            serde_json::from_str(implied).map_err(|e| format!("says wrongly what questions imply: {e}"))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let pointer = |name: &str| {
            let matrix = super::adapter::matrix(&tensors, name, 1.0)?;
            match matrix.dims() == [WIDTH, encoder.width()] {
                true => Var::from_tensor(&matrix).map_err(|e| e.to_string()),
                false => Err(format!("has a matrix {name} of {:?}", matrix.dims())),
            }
        };
        let [a, b, c, d] = POINTERS.map(pointer);
        Ok((known, Self { adapter, pointers: [a?, b?, c?, d?], implied }))
    }

    /// Names and tensors of the file, 16-bit numbers.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub(crate) fn written(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = self.adapter.written()?;
        for (name, pointer) in POINTERS.iter().zip(&self.pointers) {
            tensors.push(((*name).to_owned(), pointer.as_tensor().to_dtype(DType::F16)?));
        }
        Ok(tensors)
    }

    /// All that is learned.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.adapter.variables().iter().chain(&self.pointers).cloned().collect()
    }

    /// The same with other numbers, in the order of [`variables`](Self::variables).
    pub(crate) fn with(&self, tensors: &[Tensor]) -> Result<Self> {
        let Some((of_adapter, [a, b, c, d])) = tensors.split_last_chunk::<4>() else {
            candle_core::bail!("there is nothing to learn")
        };
        let var = Var::from_tensor;
        let pointers = [var(a)?, var(b)?, var(c)?, var(d)?];
        Ok(Self { adapter: self.adapter.with(of_adapter), pointers, implied: self.implied.clone() })
    }

    /// Natural logarithms of how likely each token of all sheets is where a value begins, and where it ends: a row
    /// for each of these blanks.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub(crate) fn point(
        &self,
        encoder: &Encoder,
        sheets: &[&Sheet],
        blanks: &[(usize, usize)],
        dropped: Option<(f32, &mut fastrand::Rng)>,
    ) -> Result<[Tensor; 2]> {
        let ids = sheets.iter().flat_map(|sheet| sheet.tokens.iter().copied()).collect();
        let lengths: Vec<usize> = sheets.iter().map(|sheet| sheet.tokens.len()).collect();
        let begins = begins(sheets);
        let total: usize = lengths.iter().sum();
        let states = encoder.states(&self.adapter, &Tokens { ids, lengths: lengths.into() }, dropped)?;
        let names: Vec<u32> = blanks
            .iter()
            .map(|(sheet, blank)| (begins[*sheet] + sheets[*sheet].blanks[*blank].name) as u32)
            .collect();
        let mut mask = vec![NEVER; blanks.len() * total];
        for (row, (sheet, blank)) in blanks.iter().enumerate() {
            for place in sheets[*sheet].allowed(*blank) {
                mask[row * total + begins[*sheet] + place] = 0.0;
            }
        }
        let mask = Tensor::from_vec(mask, (blanks.len(), total), &Device::Cpu)?;
        let names = states.index_select(&Tensor::new(names, &Device::Cpu)?, 0)?;
        let scores = |blank: &Var, place: &Var| {
            let (blanks, places) = (names.matmul(&blank.t()?)?, states.matmul(&place.t()?)?);
            let scores = (blanks.matmul(&places.t()?)? * (1.0 / (WIDTH as f64).sqrt()))?;
            candle_nn::ops::log_softmax(&(scores + &mask)?, D::Minus1)
        };
        let [a, b, c, d] = &self.pointers;
        Ok([scores(a, b)?, scores(c, d)?])
    }

    /// The loss: how unlikely the right places are, the mean over the rows.
    ///
    /// # Errors
    /// Those of the arithmetic.
    pub(crate) fn loss(
        &self,
        encoder: &Encoder,
        sheets: &[&Sheet],
        rows: &[Row],
        dropped: Option<(f32, &mut fastrand::Rng)>,
    ) -> Result<Tensor> {
        let blanks: Vec<(usize, usize)> = rows.iter().map(|row| (row.sheet, row.blank)).collect();
        let [starts, ends] = self.point(encoder, sheets, &blanks, dropped)?;
        let (begins, total) = (begins(sheets), starts.dim(1)?);
        let right = |pick: fn(&Row) -> &[usize]| {
            let mut mask = vec![NEVER; rows.len() * total];
            for (n, row) in rows.iter().enumerate() {
                let allowed = sheets[row.sheet].allowed(row.blank);
                for place in pick(row) {
                    mask[n * total + begins[row.sheet] + allowed[*place]] = 0.0;
                }
            }
            Tensor::from_vec(mask, (rows.len(), total), &Device::Cpu)
        };
        let starts = (starts + right(|row| &row.starts)?)?.log_sum_exp(D::Minus1)?;
        let ends = (ends + right(|row| &row.ends)?)?.log_sum_exp(D::Minus1)?;
        (starts + ends)?.mean_all()?.neg()
    }

    /// Read forms and questions.
    ///
    /// # Errors
    /// Those of the arithmetic: too little memory, most likely.
    pub fn readings(&self, encoder: &Encoder, sheets: &[&Sheet]) -> Result<Vec<Reading>> {
        let all =
            |(n, sheet): (usize, &&Sheet)| (0..sheet.blanks.len()).map(move |blank| (n, blank)).collect();
        let blanks: Vec<(usize, usize)> =
            sheets.iter().enumerate().flat_map(|each| -> Vec<_> { all(each) }).collect();
        let mut readings: Vec<Reading> = sheets
            .iter()
            .map(|sheet| Reading { tokens: sheet.offsets.clone(), blanks: Vec::new() })
            .collect();
        if blanks.is_empty() {
            return Ok(readings);
        }
        let [starts, ends] = self.point(encoder, sheets, &blanks, None)?;
        let (starts, ends, begins) = (starts.to_vec2::<f32>()?, ends.to_vec2::<f32>()?, begins(sheets));
        for (row, (n, blank)) in blanks.iter().enumerate() {
            let allowed = sheets[*n].allowed(*blank);
            let of = |list: &[f32]| allowed.iter().map(|place| list[begins[*n] + place]).collect();
            let options = sheets[*n].options(*blank).map(str::to_owned).collect();
            readings[*n].blanks.push(Pointed { options, starts: of(&starts[row]), ends: of(&ends[row]) });
        }
        Ok(readings)
    }
}

/// Where each sheet begins among the tokens of all.
fn begins(sheets: &[&Sheet]) -> Vec<usize> {
    let mut end = 0;
    let begin = |sheet: &&Sheet| {
        end += sheet.len();
        end - sheet.len()
    };
    sheets.iter().map(begin).collect()
}
