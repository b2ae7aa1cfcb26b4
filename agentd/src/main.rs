//! The agent's daemon.

#![forbid(unsafe_code)]

use aios_abi::agent::{Agent as Protocol, AgentReply, AgentRequest, AgentStatus, AskEvent};
use aios_abi::client::Client;
use aios_abi::server::{Context, Handler};
use aios_abi::who::uid;
use aios_abi::{CallError, paths};
use aios_agentd::answer::{Agent, Listener};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Questions that are worked on at once.
const QUESTIONS: usize = 8;

/// Answer questions and carry out commands in plain words.
#[derive(Debug, Parser)]
#[command(name = "aios-agentd", version)]
struct Arguments {
    /// Listen here when no listening socket is inherited
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Directory of the daemons' sockets
    #[arg(long, value_name = "DIR", default_value = "/run/aios")]
    run: PathBuf,
}

fn main() -> ExitCode {
    aios_abi::daemon::log_to_stderr();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), CallError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = aios_abi::daemon::listener("agentd", arguments.socket.as_deref())?;
        let at = |socket: &str| arguments.run.join(Path::new(socket).file_name().unwrap_or_default());
        let agent = Agent::new(
            Client::at(at(paths::INIT_SOCKET)),
            Client::at(at(paths::TOOLD_SOCKET)),
            Client::at(at(paths::INFERD_SOCKET)),
        );
        let server = Arc::new(Server { agent, room: tokio::sync::Semaphore::new(QUESTIONS) });
        aios_abi::daemon::ready();
        Ok(aios_abi::server::serve(listener, server).await?)
    })
}

struct Server {
    agent: Agent,
    room: tokio::sync::Semaphore,
}

impl Server {
    /// A place for a question, for those who may ask.
    fn admit(&self, context: &Context<Protocol>) -> Result<tokio::sync::SemaphorePermit<'_>, CallError> {
        // Who the person is, the console knows; from others the claim is worth nothing.
        // Started by hand, the daemons run as one user.
        let own = rustix::process::geteuid().as_raw();
        if ![uid::ROOT, uid::CONSOLE, own].contains(&context.peer.uid) {
            return Err(CallError::denied("questions reach the agent through the console; use aiosctl ask"));
        }
        self.room.try_acquire().map_err(|_| {
            CallError::new(
                aios_abi::ErrorCode::Busy,
                format!("{QUESTIONS} questions are being answered; ask again when one is done"),
            )
        })
    }
}

struct Events<'a>(&'a Context<Protocol>);

impl Listener for Events<'_> {
    fn event(&self, event: AskEvent) -> impl Future<Output = Result<(), CallError>> + Send {
        self.0.send(event)
    }
}

impl Handler<Protocol> for Server {
    async fn handle(
        self: Arc<Self>,
        context: Context<Protocol>,
        request: AgentRequest,
    ) -> Result<AgentReply, CallError> {
        match request {
            AgentRequest::Status => {
                let (inference, catalog) = tokio::join!(self.agent.inference(), self.agent.catalog());
                let tools =
                    catalog.map_or(0, |catalog| u32::try_from(catalog.tools.len()).unwrap_or(u32::MAX));
                Ok(AgentReply::Status(AgentStatus { inference, tools }))
            }
            AgentRequest::Ask { text } => {
                let _place = self.admit(&context)?;
                let person = context.meta.person.clone();
                self.agent.answer(&text, person, &Events(&context)).await.map(AgentReply::Answer)
            }
            AgentRequest::Understand { text } => {
                let _place = self.admit(&context)?;
                let person = context.meta.person.clone();
                self.agent.understand(&text, person, &Events(&context)).await.map(AgentReply::Understood)
            }
        }
    }
}
