//! One GGUF model and its contexts.

use crate::gpu::Plan;
use crate::lane::{BATCH, JUDGED, Job, Kind, Lane, SLOTS, token};
use crate::pace::{self, Pace};
use crate::prompt;
use aios_abi::CallError;
use aios_abi::engine::{Adapter, Generate, Message, ModelInfo, Offload};
use aios_engine::{Begun, Engine, Grammars, Memory, Next, Options, Pieces, Tokens, Told, Work, Writer};
use aios_gguf::Summary;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use llama_cpp_2::token::LlamaToken;
use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;

/// Is told how much is loaded, in percent.
type Progress = Rc<dyn Fn(u8)>;

/// Tokens that all calls have together that are made of words at once: questions are short.
const CALLS_CONTEXT: u32 = 2048;

/// A loaded model.
pub(crate) struct Llama {
    info: ModelInfo,
    model: &'static LlamaModel,
    vocabulary: Vocabulary,
    grammars: Grammars,
    /// The model as it is.
    plain: Lane,
    /// The model with the adapter that makes calls of words.
    adapted: Option<Lane>,
    pace: Pace,
    /// Requests that ended before anything was computed.
    ended: Vec<(u64, Told)>,
}

/// What the writers need of the model.
pub(crate) struct Vocabulary(&'static LlamaModel);

impl Pieces for Vocabulary {
    fn piece(&self, id: u32) -> Vec<u8> {
        self.0.vocab().token_to_piece(token(id), false, None)
    }

    fn is_end(&self, id: u32) -> bool {
        self.0.vocab().is_eog(token(id))
    }
}

impl Llama {
    /// Check the files and load them, as much of the model as has room there into graphics processors.
    pub(crate) fn load(
        options: &Options,
        most: Option<u64>,
        progress: Box<dyn Fn(u8) + Send>,
    ) -> Result<Self, String> {
        let summary = aios_gguf::check(&options.model).map_err(|e| e.to_string())?;
        let mut backend = LlamaBackend::init().map_err(|e| format!("{}: {e}", options.model.display()))?;
        backend.void_logs();
        // The contexts borrow it and live as long as the process.
        let backend: &'static LlamaBackend = Box::leak(Box::new(backend));
        let progress: Progress = Rc::new(progress);
        let plan = Plan::now(&summary, options, most);
        let mut offload = plan.as_ref().map(Plan::told);
        if let Some(plan) = plan.filter(|plan| plan.layers > 0) {
            match Self::open(options, &summary, backend, Some(&plan), &progress) {
                Ok(loaded) => return Ok(loaded.with(offload)),
                // What it has loaded there until then stays there as long as the process.
                Err(why) => {
                    eprintln!("<4>the graphics processor is not used: {why}");
                    offload = Some(Offload { layers: 0, why: Some(why), ..plan.told() });
                }
            }
        }
        Ok(Self::open(options, &summary, backend, None, &progress)?.with(offload))
    }

    fn with(mut self, offload: Option<Offload>) -> Self {
        self.info.offload = offload;
        self
    }

    fn open(
        options: &Options,
        summary: &Summary,
        backend: &'static LlamaBackend,
        plan: Option<&Plan>,
        progress: &Progress,
    ) -> Result<Self, String> {
        let named = |what: String| format!("{}: {what}", options.model.display());
        let progress = progress.clone();
        let parameters = Plan::parameters(plan).map_err(named)?.with_progress_callback(move |part| {
            // A fraction of 0 to 1; a percent is fine enough for people.
            progress((part.clamp(0.0, 1.0) * 100.0) as u8);
            true
        });
        let mut model = LlamaModel::load_from_file(backend, &options.model, &parameters)
            .map_err(|e| named(format!("llama.cpp cannot load this model: {e}")))?;
        let adapter = options.adapter.as_deref().and_then(|path| {
            // Without it the model still writes; calls are made of words without its help then.
            load_adapter(&mut model, path)
                .map_err(|why| eprintln!("<4>the adapter is not used: {}: {why}", path.display()))
                .ok()
        });
        // The contexts borrow the model, and all live as long as the process.
        let model: &'static LlamaModel = Box::leak(Box::new(model));
        let pace = match options.threads {
            Some(threads) => Pace::new(threads, true),
            None => Pace::new(pace::cores(), false),
        };
        let threads = pace.threads();
        let memory = match options.memory {
            Memory::F32 => KvCacheType::F32,
            Memory::F16 => KvCacheType::F16,
            Memory::Q8 => KvCacheType::Q8_0,
        };
        let file = options.model.display().to_string();
        let make = move |size: u32, threads: u32| {
            let count = i32::try_from(threads).unwrap_or(1);
            let parameters = LlamaContextParams::default()
                .with_type_k(memory)
                .with_type_v(memory)
                .with_n_ctx(NonZeroU32::new(size))
                .with_n_batch(BATCH as u32)
                .with_n_seq_max((SLOTS + JUDGED) as u32)
                // The sequences share the room, and the cells of what they have in common.
                .with_kv_unified(true)
                .with_n_threads(count)
                .with_n_threads_batch(count);
            model
                .new_context(backend, parameters)
                .map_err(|e| format!("{file}: there is no memory for a context of {size} tokens: {e}"))
        };
        let context = options.context.min(model.n_ctx_train().max(1));
        let plain = make.clone();
        let plain = Lane::new(Box::new(move |threads| plain(context, threads)), context, threads)?;
        let mut known = None;
        let adapted = match adapter {
            Some((about, adapter)) => {
                let size = CALLS_CONTEXT.min(context);
                let (name, adapter) = (named(String::new()), RefCell::new(adapter));
                let adapted = move |threads| {
                    let mut lane = make(size, threads)?;
                    lane.lora_adapter_set(&mut adapter.borrow_mut(), 1.0)
                        .map_err(|e| format!("{name}the adapter cannot be used: {e}"))?;
                    Ok(lane)
                };
                known = Some(about);
                Some(Lane::new(Box::new(adapted), size, threads)?)
            }
            None => None,
        };
        let info = ModelInfo {
            name: summary.name.clone(),
            parameters: model.n_params(),
            context,
            dimensions: u32::try_from(model.n_embd()).unwrap_or(0),
            threads,
            slots: SLOTS as u32,
            adapter: known,
            reads: Vec::new(),
            budget: None,
            offload: None,
        };
        let grammars = Grammars::new(tokens(model)).map_err(named)?;
        let vocabulary = Vocabulary(model);
        Ok(Self { info, model, vocabulary, grammars, plain, adapted, pace, ended: Vec::new() })
    }

    fn lane(&mut self, adapted: bool) -> &mut Lane {
        match (&mut self.adapted, adapted) {
            (Some(lane), true) => lane,
            _ => &mut self.plain,
        }
    }

    fn lanes(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.plain).chain(&mut self.adapted)
    }

    fn writing(&mut self, id: u64, request: &Generate) -> Result<Option<Job>, CallError> {
        let mut pending = prompt::tokens(self.model, &request.messages, &request.prefix)?;
        let prompt = pending.len();
        let mut writer = Writer::new(request, prompt, &self.grammars)?;
        let mut text = String::new();
        let first = writer.first(&self.vocabulary, &mut |piece| text.push_str(piece));
        match first {
            Next::Tokens(tokens) => pending.extend(tokens.into_iter().map(token)),
            Next::End => {
                self.ended.extend([(id, Told::Text(text)), (id, Told::Done(writer.cost(0)))]);
                return Ok(None);
            }
        }
        let need = prompt + request.max_tokens as usize;
        Ok(Some(Job { id, pending, need, reused: 0, kind: Kind::Writing(text, Box::new(writer)) }))
    }

    fn scoring(&self, id: u64, messages: &[Message], continuations: &[String]) -> Result<Job, CallError> {
        let pending = prompt::tokens(self.model, messages, "")?;
        let cut = |text: &String| self.model.vocab().tokenize(text.as_bytes(), false, false);
        let continuations: Vec<Vec<LlamaToken>> = continuations.iter().map(cut).collect();
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        let need = pending.len() + longest * continuations.len().min(JUDGED);
        Ok(Job { id, pending, need, reused: 0, kind: Kind::Scoring(continuations) })
    }
}

fn load_adapter(
    model: &mut LlamaModel,
    path: &std::path::Path,
) -> Result<(Adapter, LlamaLoraAdapter), String> {
    let summary = aios_gguf::check(path).map_err(|e| e.to_string())?;
    let adapter = model.lora_adapter_init(path).map_err(|e| format!("llama.cpp cannot load it: {e}"))?;
    Ok((Adapter { name: summary.name, tools: summary.tools }, adapter))
}

/// What grammars know of the vocabulary.
fn tokens(model: &'static LlamaModel) -> Tokens {
    let vocab = model.vocab();
    let pieces = (0..vocab.n_tokens()).map(LlamaToken::new).map(|token| {
        if vocab.is_control(token) { Vec::new() } else { vocab.token_to_piece(token, false, None) }
    });
    let end = [vocab.eot(), vocab.eos()].into_iter().find(|token| token.0 >= 0);
    Tokens {
        pieces: pieces.collect(),
        end: end.and_then(|token| u32::try_from(token.0).ok()).unwrap_or(0),
        cut: Box::new(move |bytes| {
            let tokens = model.vocab().tokenize(bytes, false, false);
            tokens.into_iter().filter_map(|token| u32::try_from(token.0).ok()).collect()
        }),
    }
}

impl Engine for Llama {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn begin(&mut self, id: u64, work: Work) -> Result<Begun, CallError> {
        let (job, adapted) = match &work {
            Work::Generate(request) => (self.writing(id, request)?, request.adapted),
            Work::Score { messages, continuations, adapted } => {
                (Some(self.scoring(id, messages, continuations)?), *adapted)
            }
            Work::Embed { .. } | Work::Read { .. } => {
                return Err(CallError::invalid("this engine embeds no sentences"));
            }
        };
        let Some(job) = job else { return Ok(Begun::Yes) };
        if job.pending.is_empty() {
            return Err(CallError::invalid("the prompt is empty"));
        }
        let lane = self.lane(adapted);
        if job.need > lane.size() {
            return Err(CallError::invalid(format!(
                "the prompt has {} tokens and the answer may have {} more, but the model's context holds {}; ask with fewer words",
                job.pending.len(),
                job.need.saturating_sub(job.pending.len()),
                lane.size()
            )));
        }
        Ok(if lane.begin(job) { Begun::Yes } else { Begun::Later(work) })
    }

    fn end(&mut self, id: u64) {
        self.lanes().for_each(|lane| lane.end(id));
    }

    fn step(&mut self, tell: &mut dyn FnMut(u64, Told)) {
        for (id, told) in std::mem::take(&mut self.ended) {
            tell(id, told);
        }
        for lane in std::iter::once(&mut self.plain).chain(&mut self.adapted) {
            lane.step(&self.vocabulary, tell);
        }
        let is_busy = self.lanes().any(|lane| lane.is_busy());
        match is_busy {
            true => {
                if let Some(threads) = self.pace.step() {
                    eprintln!("<6>{threads} threads compute from now on");
                    self.lanes().for_each(|lane| lane.set_threads(threads));
                }
            }
            false => self.pace.rest(),
        }
    }
}
