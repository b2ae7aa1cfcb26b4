//! What a call may touch, as the kernel enforces it: declared by the tool, narrowed by the call's arguments.
//!
//! A tool says nothing and gets nothing: no file can be opened, no socket made, no other process seen into, no program
//! started, no power of root is there. What it needs it names, and a test tries what it did not name.

use crate::judge::PolicyQuestion;
use crate::schedule::ScheduleQuestion;
use aios_abi::accounts::AccountsRequest;
use aios_abi::firewall::FirewallRequest;
use aios_abi::infer::InferRequest;
use aios_abi::net::NetRequest;
use aios_abi::run::{RunHow, RunRequest};
use aios_abi::service::InitRequest;
use aios_unit::{Family, SyscallGroup};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What every call of a tool needs, whatever its arguments are.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Files and directories that it reads.
    pub read: &'static [&'static str],
    /// Directories whose names and facts it looks at, with all below them.
    pub list: &'static [&'static str],
    /// What it keeps of root's power.
    pub capabilities: CapabilitySet,
    /// Families of sockets that it makes.
    pub families: &'static [Family],
    /// System calls besides the usual ones.
    pub calls: &'static [SyscallGroup],
    /// Whom it asks. The questions go through the broker, which holds the tool to them.
    pub asks: &'static [Asks],
    /// It looks into other processes, which Landlock forbids whatever capabilities say. So there is nothing in its root
    /// directory but `/proc` and copies of the files that it reads.
    pub looks_into_processes: bool,
    /// Memory in bytes that a call may take.
    pub memory: u64,
    /// It needs nothing that the broker's own sandbox does not have, and no process of its own.
    pub in_broker: bool,
}

/// Whom a tool asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// init, for what is; nothing changes.
    InitToLook,
    /// init, to start, stop, reload and read again, and to run commands.
    InitToAct,
    /// init, to run commands that change nothing.
    InitToRunLooks,
    /// netd, for what other machines say.
    Net,
    /// netd, for how the network is set up; nobody outside hears of it.
    NetToLook,
    /// netd, to change how the network is set up.
    NetToAct,
    /// The broker's own chain of records.
    Audit,
    /// The policy: what counts, and what would be decided.
    Policy,
    /// The policy, to set it.
    PolicyToSet,
    /// What is planned.
    Schedule,
    /// The same, to change it.
    ScheduleToSet,
    /// The console, for accounts as they are and for its certificate; nothing changes.
    AccountsToLook,
    /// The console, to change accounts, end logins and renew its certificate.
    AccountsToAct,
    /// The broker's baseline of files.
    Baseline,
    /// The broker's baseline of files, to set it.
    BaselineToSet,
    /// inferd, for which models are used; no model is asked.
    ModelsToLook,
    /// inferd, to use another model, or to learn.
    ModelsToAct,
}

/// What a call of a tool that says nothing may take.
const MEMORY: u64 = 128 << 20;

impl Needs {
    /// Nothing.
    pub const NOTHING: Self = Self {
        read: &[],
        list: &[],
        capabilities: CapabilitySet::empty(),
        families: &[],
        calls: &[],
        asks: &[],
        looks_into_processes: false,
        memory: MEMORY,
        in_broker: false,
    };

    /// So little that the broker answers itself.
    pub const BROKER: Self = Self { in_broker: true, ..Self::NOTHING };

    /// And these files and directories, to be read.
    pub const fn read(self, read: &'static [&'static str]) -> Self {
        Self { read, ..self }
    }

    /// And these directories, to be looked at.
    pub const fn list(self, list: &'static [&'static str]) -> Self {
        Self { list, ..self }
    }

    /// And these capabilities.
    pub const fn capabilities(self, capabilities: CapabilitySet) -> Self {
        Self { capabilities, ..self }
    }

    /// And sockets of these families.
    pub const fn families(self, families: &'static [Family]) -> Self {
        Self { families, ..self }
    }

    /// And these groups of system calls.
    pub const fn calls(self, calls: &'static [SyscallGroup]) -> Self {
        Self { calls, ..self }
    }

    /// And answers from these.
    pub const fn asks(self, asks: &'static [Asks]) -> Self {
        Self { asks, ..self }
    }

    /// And a look into other processes.
    pub const fn looks_into_processes(self) -> Self {
        Self { looks_into_processes: true, ..self }
    }

    /// Whether it speaks with other machines, itself or through netd.
    pub fn reaches_outside(&self) -> bool {
        let internet = |family: &Family| matches!(family, Family::Inet | Family::Inet6);
        self.families.iter().any(internet) || self.asks.contains(&Asks::Net)
    }

    /// Whether the broker passes on this question.
    pub fn may_ask(&self, question: &Question) -> bool {
        let looks = |request: &InitRequest| {
            use InitRequest::{Commands, List, Logs, Machine, Planned, Status};
            matches!(
                request,
                List | Status { .. } | Logs { follow: false, .. } | Machine | Planned | Commands
            )
        };
        let needed = match question {
            Question::Init(request) if looks(request) => &[Asks::InitToLook, Asks::InitToAct][..],
            Question::Init(InitRequest::Run(RunRequest { how: RunHow::Look, .. })) => {
                &[Asks::InitToRunLooks, Asks::InitToAct]
            }
            Question::NewLines { .. } => &[Asks::InitToLook],
            Question::Init(_) | Question::InitLater(_) => &[Asks::InitToAct],
            Question::Net(request) => match request {
                NetRequest::Resolve { .. }
                | NetRequest::Connect { .. }
                | NetRequest::Ping { .. }
                | NetRequest::Trace { .. } => &[Asks::Net][..],
                NetRequest::Trial | NetRequest::Setup | NetRequest::Vpns => {
                    &[Asks::NetToLook, Asks::NetToAct]
                }
                NetRequest::Firewall(FirewallRequest::List) => &[Asks::NetToLook, Asks::NetToAct],
                // The console alone tells who logs in.
                NetRequest::Firewall(FirewallRequest::Login { .. }) => &[],
                NetRequest::Confirm
                | NetRequest::TakeBack
                | NetRequest::Try { .. }
                | NetRequest::KeepSecret { .. }
                | NetRequest::Firewall(_) => &[Asks::NetToAct],
            },
            Question::Record(_) | Question::Records { .. } | Question::Verify => &[Asks::Audit],
            Question::Policy(PolicyQuestion::Set(_)) => &[Asks::PolicyToSet],
            Question::Policy(_) => &[Asks::Policy, Asks::PolicyToSet],
            Question::Schedule(ScheduleQuestion::Show) => &[Asks::Schedule, Asks::ScheduleToSet],
            Question::Schedule(_) => &[Asks::ScheduleToSet],
            Question::Accounts(AccountsRequest::List | AccountsRequest::Certificate) => {
                &[Asks::AccountsToLook, Asks::AccountsToAct]
            }
            Question::Accounts(_) => &[Asks::AccountsToAct],
            Question::Infer(InferRequest::Models | InferRequest::Learned) => {
                &[Asks::ModelsToLook, Asks::ModelsToAct]
            }
            Question::Infer(
                InferRequest::Switch { .. } | InferRequest::Learn { .. } | InferRequest::Adapt { .. },
            ) => &[Asks::ModelsToAct],
            // A tool decides by code alone.
            Question::Infer(_) => &[],
            Question::Baseline => &[Asks::Baseline, Asks::BaselineToSet],
            Question::SetBaseline(_) => &[Asks::BaselineToSet],
            // It asks for a refusal.
            Question::MayLook { .. } => return true,
        };
        needed.iter().any(|one| self.asks.contains(one))
    }
}

/// How a path is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Names and facts of what is in a directory and below it, but no content of files.
    List,
    /// The content of a file, or of all below a directory.
    Read,
    /// All that is in a directory is changed, made and removed.
    Change,
}

/// The paths that a call's arguments name.
pub type Paths = Vec<(Way, PathBuf)>;

/// The directory of a file: that is what changes when the file is made, replaced, moved or removed.
pub fn directory_of(path: impl AsRef<Path>) -> Paths {
    path.as_ref().parent().map(|folder| vec![(Way::Change, folder.into())]).unwrap_or_default()
}

/// A question to others, on its way through the broker.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// To init.
    Init(InitRequest),
    /// To init, after the call was answered: what ends the broker itself.
    InitLater(InitRequest),
    /// To init: lines of its logs that are newer than this one, as soon as there are some.
    NewLines {
        /// Only this service.
        unit: Option<String>,
        /// Only lines that contain this text.
        contains: Option<String>,
        /// Number of the newest line that is known.
        after: u64,
        /// Milliseconds to wait for them.
        wait_ms: u32,
    },
    /// To netd.
    Net(NetRequest),
    /// One record of the chain.
    Record(u64),
    /// Records of the chain from this number on, at most so many.
    Records {
        /// First sequence number.
        from: u64,
        /// At most this many.
        limit: u32,
    },
    /// Whether the chain is whole.
    Verify,
    /// About the policy.
    Policy(PolicyQuestion),
    /// Whether the caller may look at this file or directory.
    MayLook {
        /// Its real path.
        path: PathBuf,
        /// Its content is to be read, and not everybody may.
        private: bool,
    },
    /// About what is planned.
    Schedule(ScheduleQuestion),
    /// To the console.
    Accounts(AccountsRequest),
    /// To inferd. What happens on the way the caller hears as progress.
    Infer(InferRequest),
    /// The baseline of files.
    Baseline,
    /// Keep this as the baseline of files; none removes it.
    SetBaseline(Option<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_declared_may_be_asked() {
        let status = || Question::Init(InitRequest::Status { name: "netd".into() });
        let stop = || Question::Init(InitRequest::Stop { name: "netd".into() });
        let follow = Question::Init(InitRequest::Logs { unit: None, contains: None, limit: 1, follow: true });
        let look = Needs::NOTHING.asks(&[Asks::InitToLook]);
        assert!(!Needs::NOTHING.may_ask(&status()) && !Needs::NOTHING.may_ask(&Question::Verify));
        assert!(look.may_ask(&status()) && !look.may_ask(&stop()) && !look.may_ask(&follow));
        assert!(!look.may_ask(&Question::InitLater(InitRequest::PowerOff)));
        let act = Needs::NOTHING.asks(&[Asks::InitToAct]);
        assert!(act.may_ask(&stop()) && !act.may_ask(&Question::Verify));
        let ask = |asks, request| Needs::NOTHING.asks(asks).may_ask(&Question::Net(request));
        let ping = NetRequest::Ping { address: [192, 0, 2, 1].into(), count: 1, wait_ms: 1 };
        assert!(ask(&[Asks::Net], ping.clone()) && !ask(&[Asks::NetToLook, Asks::NetToAct], ping));
        assert!(ask(&[Asks::NetToLook], NetRequest::Trial) && !ask(&[Asks::Net], NetRequest::Trial));
        assert!(ask(&[Asks::NetToAct], NetRequest::Confirm));
        let list = || NetRequest::Firewall(FirewallRequest::List);
        assert!(ask(&[Asks::NetToLook], list()) && !ask(&[Asks::Net], list()));
        let login = FirewallRequest::Login { address: [192, 0, 2, 1].into(), good: true };
        assert!(!ask(&[Asks::Net, Asks::NetToAct], NetRequest::Firewall(login)));
        assert!(!ask(&[Asks::Net, Asks::NetToLook], NetRequest::Confirm));
        assert!(Needs::NOTHING.asks(&[Asks::Audit]).may_ask(&Question::Record(1)));
        let (show, set) = (PolicyQuestion::Show, PolicyQuestion::Set(String::new()));
        let run = |how| {
            let (service, command) = ("web".into(), "test".into());
            Question::Init(InitRequest::Run(RunRequest { service, command, arguments: Vec::new(), how }))
        };
        let runs_looks = Needs::NOTHING.asks(&[Asks::InitToRunLooks]);
        assert!(runs_looks.may_ask(&run(RunHow::Look)) && !runs_looks.may_ask(&run(RunHow::Wait)));
        assert!(!look.may_ask(&run(RunHow::Look)) && !runs_looks.may_ask(&run(RunHow::Background)));
        assert!(act.may_ask(&run(RunHow::Wait)) && !runs_looks.may_ask(&stop()));
        let (list, end) = (AccountsRequest::List, AccountsRequest::EndLogins { name: None });
        let accounts = Needs::NOTHING.asks(&[Asks::AccountsToLook]);
        assert!(accounts.may_ask(&Question::Accounts(list)) && !accounts.may_ask(&Question::Accounts(end)));
        let text = || Question::Infer(InferRequest::Embed { texts: Vec::new() });
        let models = Needs::NOTHING.asks(&[Asks::ModelsToLook]);
        assert!(models.may_ask(&Question::Infer(InferRequest::Models)) && !models.may_ask(&text()));
        let switch = Question::Infer(InferRequest::Switch {
            tier: aios_abi::infer::Tier::Tactical,
            to: aios_abi::infer::ModelChoice::Image,
        });
        let change = Needs::NOTHING.asks(&[Asks::ModelsToAct]);
        assert!(change.may_ask(&switch) && !models.may_ask(&switch) && !change.may_ask(&text()));
        let policy = Needs::NOTHING.asks(&[Asks::Policy]);
        assert!(policy.may_ask(&Question::Policy(show)) && !policy.may_ask(&Question::Policy(set)));
    }
}
