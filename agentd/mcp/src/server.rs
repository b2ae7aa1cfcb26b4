//! Requests of the protocol, answered.

use crate::own::{self, AuditArgs, UndoArgs};
use crate::{House, Order, shown};
use aios_abi::client::{Call, Next};
use aios_abi::schema;
use aios_abi::tool::{Progress, ToolReply, Tools};
use aios_abi::who::Person;
use aios_abi::{CallError, ErrorCode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject,
    ListToolsResult, MetaObject, PaginatedRequestParams, ProgressNotificationParam, ProgressToken,
    ProtocolVersion, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Tools of one page of the list.
pub const PAGE: usize = 50;

/// The versions that are spoken. Older ones know neither structured results nor a way without batches.
static VERSIONS: &[ProtocolVersion] =
    &[ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];

const INSTRUCTIONS: &str = "\
The tools look at one machine, an aiOS appliance, and change it. What a call may touch is decided by the machine's policy \
and held by its kernel. A tool that changes something takes arguments besides its own: `why`, the reason, which the \
audit log keeps, `dry_run`, which only says what would be changed, and `idempotency_key`, under which it is made once. An answer has `result`, a `summary` for people, the \
number of its record in the audit log (`audit`) and whether the change is `undoable`: then the tool `undo` takes it back. \
The tool `audit` shows what was done, by whom and why.";

/// Who asks.
#[derive(Debug, Clone)]
pub enum Who {
    /// Everything that comes this way is asked by this person.
    Always(Person),
    /// Each request of the web brings its [`Person`] along, among its extensions.
    EachRequest,
}

/// Answers one client.
pub struct Server<H> {
    house: Arc<H>,
    who: Who,
}

impl<H: House> Server<H> {
    /// For a client whose requests are asked by these.
    pub fn new(house: Arc<H>, who: Who) -> Self {
        Self { house, who }
    }

    fn person(&self, context: &RequestContext<RoleServer>) -> Result<Person, ErrorData> {
        let person = match &self.who {
            Who::Always(person) => Some(person),
            Who::EachRequest => {
                context.extensions.get::<http::request::Parts>().and_then(|parts| parts.extensions.get())
            }
        };
        person.cloned().ok_or_else(|| ErrorData::invalid_request("nobody is logged in", None))
    }

    async fn answer(
        &self,
        person: &Person,
        name: &str,
        args: JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, Failure> {
        match name {
            own::AUDIT => {
                let args: AuditArgs = own::read(args)?;
                Ok(self.house.audit(person, args.from, args.limit()?).await?)
            }
            own::UNDO => {
                let args: UndoArgs = own::read(args)?;
                Ok(self.follow(self.house.undo(person, args.audit, args.why).await?, context).await?)
            }
            name => {
                let call = match self.house.call(person, order(name, args)?).await {
                    // Nothing was called yet: it is the tool that is not there.
                    Err(error) if error.code == ErrorCode::NotFound => {
                        return Err(Failure::Protocol(ErrorData::invalid_params(error.message, None)));
                    }
                    call => call?,
                };
                Ok(self.follow(call, context).await?)
            }
        }
    }

    /// Wait for the end of a call and tell its progress to a client who wants to know. A client who takes the request
    /// back, or goes, ends it: what is dropped here is cancelled in the broker.
    async fn follow(
        &self,
        mut call: Call<Tools>,
        context: &RequestContext<RoleServer>,
    ) -> Result<Value, CallError> {
        let mut steps = context.meta.get_progress_token().map(Steps::new);
        loop {
            let next = tokio::select! {
                next = call.next() => next,
                () = context.ct.cancelled() => {
                    return Err(CallError::new(ErrorCode::Cancelled, "cancelled by the caller"));
                }
            };
            match next {
                Next::Event(progress) => {
                    if let Some(steps) = &mut steps {
                        // A client that cannot be told has gone, which the select above hears.
                        let _ = context.peer.notify_progress(steps.next(progress)).await;
                    }
                }
                Next::Reply(reply) => {
                    return match reply? {
                        ToolReply::Done(done) => Ok(self.house.done(&done)),
                        _ => Err(CallError::failed("toold answered something else than was asked")),
                    };
                }
            }
        }
    }
}

/// The tool's own arguments, and what accompanies them.
fn order(name: &str, mut args: JsonObject) -> Result<Order, CallError> {
    let wrong = |name, what| CallError::invalid(format!("`{name}` is no {what}"));
    let why = match args.remove(schema::WHY) {
        None => String::new(),
        Some(Value::String(why)) => why,
        Some(_) => return Err(wrong(schema::WHY, "text")),
    };
    let dry_run = match args.remove(schema::DRY_RUN) {
        None => false,
        Some(Value::Bool(dry_run)) => dry_run,
        Some(_) => return Err(wrong(schema::DRY_RUN, "true or false")),
    };
    let key = match args.remove(schema::KEY) {
        None => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err(wrong(schema::KEY, "text")),
    };
    Ok(Order { tool: name.into(), args: Value::Object(args).to_string(), why, dry_run, key, asked: false })
}

/// How a call went wrong.
enum Failure {
    /// In the tool, the policy or the arguments: the assistant is told, and may do better.
    Call(CallError),
    /// The request is none that can be answered.
    Protocol(ErrorData),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Progress as numbers that only grow, as the protocol wants them, whatever the tool says.
struct Steps {
    token: ProgressToken,
    reached: f64,
}

impl Steps {
    fn new(token: ProgressToken) -> Self {
        Self { token, reached: 0.0 }
    }

    fn next(&mut self, progress: Progress) -> ProgressNotificationParam {
        /// A step whose size nobody knows: it shows, and a long call does not use all percents up.
        const SMALL: f64 = 0.001;
        let told = progress.percent.map_or(0.0, f64::from);
        self.reached = if told > self.reached { told } else { self.reached + SMALL };
        let step =
            ProgressNotificationParam::new(self.token.clone(), self.reached).with_message(progress.text);
        match progress.percent {
            Some(_) => step.with_total(100.0),
            None => step,
        }
    }
}

impl<H: House> ServerHandler for Server<H> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let mut info = ServerConfig::new(capabilities).with_instructions(INSTRUCTIONS);
        info.server_info = Implementation::new("aios", self.house.version());
        info
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(VERSIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let person = self.person(&context)?;
        let tools = self.house.tools(&person).await.map_err(|error| {
            ErrorData::internal_error(error.message, Some(json!({ "code": error.code.as_str() })))
        })?;
        let cursor = request.and_then(|request| request.cursor);
        let after = match &cursor {
            None => 0,
            Some(text) => text.parse::<u16>().map_err(|_| {
                ErrorData::invalid_params(format!("{text:?} is no cursor of this server"), None)
            })?,
        };
        let mut rest = tools.iter().filter(|tool| tool.number > after);
        let page: Vec<_> = rest.by_ref().take(PAGE).collect();
        let mut tools: Vec<_> = page.iter().map(|info| shown::tool(info)).collect();
        let next = rest.next().and(page.last()).map(|last| last.number.to_string());
        if next.is_none() {
            tools.extend(own::tools());
        }
        let mut list = ListToolsResult::with_all_items(tools);
        list.next_cursor = next;
        Ok(list)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let person = self.person(&context)?;
        let args = request.arguments.unwrap_or_default();
        match self.answer(&person, &request.name, args, &context).await {
            Ok(answer) => Ok(CallToolResult::structured(answer).into()),
            Err(Failure::Call(error)) => Ok(refusal(error).into()),
            Err(Failure::Protocol(error)) => Err(error),
        }
    }
}

/// The broker's sentence for the assistant, and its code for programs.
fn refusal(error: CallError) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(error.message)]);
    let mut meta = MetaObject::new();
    meta.0.insert("code".into(), error.code.as_str().into());
    result.meta = Some(meta);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::NumberOrString;

    fn args(value: Value) -> JsonObject {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn what_accompanies_a_call_is_taken_out_of_its_arguments() {
        let call =
            order("a.b", args(json!({"path": "x", "why": "w", "dry_run": true, "idempotency_key": "k"})))
                .expect("taken");
        assert_eq!(
            call,
            Order {
                tool: "a.b".into(),
                args: r#"{"path":"x"}"#.into(),
                why: "w".into(),
                dry_run: true,
                key: Some("k".into()),
                asked: false
            }
        );
        let bare = order("a.b", JsonObject::new()).expect("taken");
        assert_eq!((bare.args.as_str(), bare.why.as_str(), bare.dry_run), ("{}", "", false));
        assert!(order("a.b", args(json!({"why": 1}))).is_err());
        assert!(order("a.b", args(json!({"dry_run": "yes"}))).is_err());
    }

    #[test]
    fn progress_only_grows_whatever_the_tool_says() {
        let mut steps = Steps::new(ProgressToken(NumberOrString::Number(1)));
        let mut last = 0.0;
        for percent in [None, Some(10), None, Some(10), Some(5), Some(100), Some(100)] {
            let step = steps.next(Progress { text: "on it".into(), percent });
            assert!(step.progress > last, "{} after {last}", step.progress);
            assert_eq!(step.total.is_some(), percent.is_some());
            last = step.progress;
        }
    }
}
