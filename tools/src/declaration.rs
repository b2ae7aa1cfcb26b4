//! How a tool is declared, and what the broker can do with a declaration without knowing its types.

use crate::ctx::Ctx;
use crate::policy::Target;
use crate::reach::{Needs, Paths};
use crate::undo::Kept;
use aios_abi::tool::{Effect, Example, ToolInfo};
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The largest result in bytes of JSON that leaves the broker; tools bound themselves far below it.
const MAX_RESULT: usize = 4 * 1024 * 1024;

/// A tool. Everything else about it is derived from this.
pub struct Declaration {
    /// Wire number; never reused.
    pub number: u16,
    /// `family.verb`
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What it does to the machine.
    pub effect: Effect,
    /// What it may touch, in words.
    pub touches: &'static [&'static str],
    /// The least role that may call it.
    pub role: Role,
    /// Milliseconds after which a call is stopped.
    pub timeout_ms: u32,
    /// How people ask for it, and the arguments which that means.
    pub examples: &'static [(&'static str, &'static str)],
    /// What the kernel lets it touch, whatever the arguments are.
    pub needs: Needs,
    /// What it does: a [`Look`] or a [`Make`].
    pub code: &'static dyn Code,
}

impl Declaration {
    /// The declaration as every interface needs it.
    pub fn info(&self) -> ToolInfo {
        ToolInfo {
            number: self.number,
            name: self.name.into(),
            summary: self.summary.into(),
            effect: self.effect,
            touches: self.touches.iter().map(|&words| words.into()).collect(),
            outside: self.needs.reaches_outside(),
            role: self.role,
            timeout_ms: self.timeout_ms,
            args_schema: self.code.args_schema(),
            result_schema: self.code.result_schema(),
            examples: self
                .examples
                .iter()
                .map(|&(ask, args)| Example { ask: ask.into(), args: args.into() })
                .collect(),
        }
    }
}

/// A tool's code with its types hidden.
pub trait Code: Sync {
    /// Decode the arguments and look at the machine; nothing is changed.
    fn start(&self, ctx: &Ctx, args: &str) -> Result<Started, CallError>;
    /// Decode the arguments only.
    fn check_args(&self, args: &str) -> Result<(), CallError>;
    /// The paths that these arguments name.
    fn paths(&self, args: &str) -> Result<Paths, CallError>;
    /// The paths that taking back needs.
    fn undo_paths(&self, saved: &Kept) -> Result<Paths, CallError>;
    /// Take back a change with what was saved for it; says in a few words what was done.
    fn undo(&self, ctx: &Ctx, saved: &Kept) -> Result<String, CallError>;
    /// JSON Schema of the arguments.
    fn args_schema(&self) -> String;
    /// JSON Schema of the result.
    fn result_schema(&self) -> String;
}

/// Where a call stands after its first step.
pub enum Started {
    /// It only looked, and is done.
    Done(Finished),
    /// A change that is ready to be made.
    Change(Box<dyn Pending>),
}

/// What a call came to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Finished {
    /// JSON of the tool's result type.
    pub result: String,
    /// One line for people.
    pub summary: String,
}

/// A change that is understood but not made.
pub trait Pending: Send + Sync {
    /// What is to be changed.
    fn target(&self) -> Target;
    /// What would change.
    fn preview(&self) -> Preview;
    /// What undo will need, if the change can be taken back.
    fn save(&self) -> Option<Kept>;
    /// Make the change and see that it holds.
    fn make(&mut self, ctx: &Ctx) -> Result<Finished, CallError>;
}

/// What a dry run says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// What would be done, in one sentence.
    pub would: String,
    /// The change of a text, as a unified diff.
    pub diff: Option<String>,
}

/// A tool that looks only.
pub struct Look<A, O> {
    /// The paths that the arguments name; the call can open no others but those that the tool needs anyhow.
    pub paths: fn(&A) -> Paths,
    /// Does it.
    pub run: fn(&Ctx, A) -> Result<O, CallError>,
    /// The result in one line.
    pub summary: fn(&O) -> String,
}

/// A tool that changes something, in steps: prepare (looks only), save, apply, verify.
pub struct Make<A, C: Change> {
    /// The paths that the arguments name; the call can open no others but those that the tool needs anyhow.
    pub paths: fn(&A) -> Paths,
    /// Find out what exactly is to be changed.
    pub prepare: fn(&Ctx, A) -> Result<C, CallError>,
    /// The result in one line.
    pub summary: fn(&C::Output) -> String,
    /// Takes the change back. A tool without it is declared irreversible.
    pub undo: Option<Undo>,
}

/// Takes a change back with what was saved for it.
#[derive(Clone, Copy)]
pub struct Undo {
    /// The paths that it needs.
    pub paths: fn(&Kept) -> Result<Paths, CallError>,
    /// Does it; says in a few words what was done.
    pub run: fn(&Ctx, &Kept) -> Result<String, CallError>,
}

/// The arguments name no path.
pub fn no_paths<T>(_: &T) -> Paths {
    Paths::new()
}

/// A change that was prepared.
pub trait Change: Send + Sync + 'static {
    /// What comes of it.
    type Output: Serialize + JsonSchema;
    /// What is to be changed.
    fn target(&self) -> Target;
    /// What would change.
    fn preview(&self) -> Preview;
    /// What undo will need.
    fn save(&self) -> Option<Kept> {
        None
    }
    /// Make it.
    fn apply(&mut self, ctx: &Ctx) -> Result<Self::Output, CallError>;
    /// Look whether it holds.
    fn verify(&self, _ctx: &Ctx, _output: &Self::Output) -> Result<(), CallError> {
        Ok(())
    }
}

impl<A, O> Code for Look<A, O>
where
    A: DeserializeOwned + JsonSchema,
    O: Serialize + JsonSchema,
{
    fn start(&self, ctx: &Ctx, args: &str) -> Result<Started, CallError> {
        let output = (self.run)(ctx, decode(args)?)?;
        finish(&output, (self.summary)(&output)).map(Started::Done)
    }

    fn check_args(&self, args: &str) -> Result<(), CallError> {
        decode::<A>(args).map(drop)
    }

    fn paths(&self, args: &str) -> Result<Paths, CallError> {
        decode(args).map(|args| (self.paths)(&args))
    }

    fn undo_paths(&self, _saved: &Kept) -> Result<Paths, CallError> {
        Err(CallError::invalid("this tool changes nothing; there is nothing to take back"))
    }

    fn undo(&self, _ctx: &Ctx, saved: &Kept) -> Result<String, CallError> {
        self.undo_paths(saved).map(|_| String::new())
    }

    fn args_schema(&self) -> String {
        schema::<A>()
    }

    fn result_schema(&self) -> String {
        schema::<O>()
    }
}

impl<A, C> Code for Make<A, C>
where
    A: DeserializeOwned + JsonSchema,
    C: Change,
{
    fn start(&self, ctx: &Ctx, args: &str) -> Result<Started, CallError> {
        let change = (self.prepare)(ctx, decode(args)?)?;
        Ok(Started::Change(Box::new(Prepared { change, summary: self.summary })))
    }

    fn check_args(&self, args: &str) -> Result<(), CallError> {
        decode::<A>(args).map(drop)
    }

    fn paths(&self, args: &str) -> Result<Paths, CallError> {
        decode(args).map(|args| (self.paths)(&args))
    }

    fn undo_paths(&self, saved: &Kept) -> Result<Paths, CallError> {
        (self.taking_back()?.paths)(saved)
    }

    fn undo(&self, ctx: &Ctx, saved: &Kept) -> Result<String, CallError> {
        (self.taking_back()?.run)(ctx, saved)
    }

    fn args_schema(&self) -> String {
        schema::<A>()
    }

    fn result_schema(&self) -> String {
        schema::<C::Output>()
    }
}

impl<A, C: Change> Make<A, C> {
    fn taking_back(&self) -> Result<Undo, CallError> {
        self.undo.ok_or_else(|| CallError::invalid("this tool's changes cannot be taken back"))
    }
}

struct Prepared<C: Change> {
    change: C,
    summary: fn(&C::Output) -> String,
}

impl<C: Change> Pending for Prepared<C> {
    fn target(&self) -> Target {
        self.change.target()
    }

    fn preview(&self) -> Preview {
        self.change.preview()
    }

    fn save(&self) -> Option<Kept> {
        self.change.save()
    }

    fn make(&mut self, ctx: &Ctx) -> Result<Finished, CallError> {
        let output = self.change.apply(ctx)?;
        self.change.verify(ctx, &output)?;
        finish(&output, (self.summary)(&output))
    }
}

fn decode<A: DeserializeOwned>(args: &str) -> Result<A, CallError> {
    // No arguments at all are the same as none.
    let args = if args.trim().is_empty() { "{}" } else { args };
    if !args.trim_start().starts_with('{') {
        return Err(CallError::invalid(
            "the arguments are not a JSON object; write them as {\"name\": value}",
        ));
    }
    serde_json::from_str(args).map_err(|e| CallError::invalid(format!("the arguments do not fit: {e}")))
}

/// A result on its way out.
pub fn finish<O: Serialize>(output: &O, summary: String) -> Result<Finished, CallError> {
    let result = serde_json::to_string(output)
        .map_err(|e| CallError::failed(format!("the result cannot be written as JSON: {e}")))?;
    if result.len() > MAX_RESULT {
        return Err(CallError::failed(format!(
            "the result has {} bytes, at most {MAX_RESULT} are sent; ask for less at once",
            result.len()
        )));
    }
    Ok(Finished { result, summary })
}

/// Schemas without references: whoever reads one (a grammar, a form) needs no resolver.
fn schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    schema.as_value().to_string()
}
