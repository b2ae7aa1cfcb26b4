//! What a line that somebody types at the machine means. Decides, and does nothing.

use crate::challenge::Challenge;
use ed25519_dalek::VerifyingKey;

/// What the machine is to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Only answer.
    Say(String),
    /// Show the machine, its services and `/data`.
    Status,
    /// List the services.
    Services,
    /// Show the newest lines of a service's log, or of all logs.
    Logs(Option<String>),
    /// Show the network interfaces.
    Network,
    /// Show the disks.
    Disks,
    /// Change a service.
    Service(Change, String),
    /// Check the data disk at the next start, and start anew.
    CheckData,
    /// Erase the data disk at the next start, and start anew.
    FactoryReset,
    /// Start anew.
    Reboot,
    /// Switch off.
    PowerOff,
}

/// What becomes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is stopped and started.
    Restart,
}

/// What everybody who stands before the machine may do, and what only its owner may.
pub const HELP: &str = "\
  status  services  logs [NAME]  network  disks  reboot  poweroff  help
  unlock SIGNATURE     with the signature of the challenge, once, until the machine restarts:
    start NAME  stop NAME  restart NAME
    check-data         check and repair the data disk at the next start, now
    factory-reset      erase everything that was ever stored on the data disk";

/// One person at the console.
#[derive(Debug)]
pub struct Session {
    challenge: Challenge,
    key: Option<VerifyingKey>,
    hostname: String,
    /// The signature that opened it.
    signed: Option<String>,
    /// The next line is the machine's name, or nothing is erased.
    naming: bool,
}

impl Session {
    /// Nobody has proved anything yet.
    pub fn new(challenge: Challenge, key: Option<VerifyingKey>, hostname: &str) -> Self {
        Self { challenge, key, hostname: hostname.to_owned(), signed: None, naming: false }
    }

    /// The challenge and the signature with which it was opened.
    pub fn proof(&self) -> Option<(String, &str)> {
        self.signed.as_deref().map(|signature| (self.challenge.to_string(), signature))
    }

    /// Take a line.
    pub fn line(&mut self, line: &str) -> Action {
        let line = line.trim();
        if std::mem::take(&mut self.naming) {
            return match line == self.hostname && self.signed.is_some() {
                true => Action::FactoryReset,
                false => Action::Say("That is not this machine's name. Nothing is erased.".to_owned()),
            };
        }
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let name = (!rest.is_empty()).then(|| rest.to_owned());
        match (verb, name) {
            ("", None) => Action::Say(String::new()),
            ("help", None) => Action::Say(HELP.to_owned()),
            ("status", None) => Action::Status,
            ("services", None) => Action::Services,
            ("logs", name) => Action::Logs(name),
            ("network", None) => Action::Network,
            ("disks", None) => Action::Disks,
            ("reboot", None) => Action::Reboot,
            ("poweroff", None) => Action::PowerOff,
            ("unlock", Some(signature)) => Action::Say(self.unlock(&signature)),
            ("start", Some(name)) => self.owner(Action::Service(Change::Start, name)),
            ("stop", Some(name)) => self.owner(Action::Service(Change::Stop, name)),
            ("restart", Some(name)) => self.owner(Action::Service(Change::Restart, name)),
            ("check-data", None) => self.owner(Action::CheckData),
            ("factory-reset", None) => {
                let asked = format!(
                    "All data, settings and accounts of this machine will be erased. Type its name ({}) to do it:",
                    self.hostname
                );
                self.naming = self.signed.is_some();
                self.owner(Action::Say(asked))
            }
            ("unlock" | "start" | "stop" | "restart", None) => {
                Action::Say(format!("{verb} needs one word more; `help` shows which."))
            }
            _ => Action::Say("There is no such command; `help` shows all.".to_owned()),
        }
    }

    fn unlock(&mut self, signature: &str) -> String {
        let Some(key) = &self.key else {
            return "This machine knows no recovery key, so nothing can unlock it.".to_owned();
        };
        if self.signed.is_some() {
            return "It is unlocked already.".to_owned();
        }
        if !self.challenge.verify(key, signature) {
            return format!("That is not the owner's signature of {}.", self.challenge);
        }
        self.signed = Some(signature.to_owned());
        "Unlocked until the machine restarts.".to_owned()
    }

    fn owner(&self, action: Action) -> Action {
        match self.signed {
            Some(_) => action,
            None => Action::Say(format!(
                "Only the owner may do that: sign the challenge with `aiosctl recovery sign --key FILE {}`, \
                 then type `unlock` and the signature.",
                self.challenge
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    fn session() -> (Session, String) {
        let owner = SigningKey::from_bytes(&[1; 32]);
        let challenge = Challenge::new("00ff").expect("random");
        let signature = challenge.sign(&owner);
        (Session::new(challenge, Some(owner.verifying_key()), "aios-00ff"), signature)
    }

    fn said(action: Action) -> String {
        match action {
            Action::Say(text) => text,
            other => panic!("{other:?} is not only said"),
        }
    }

    #[test]
    fn without_a_signature_one_may_look_and_restart_but_change_nothing() {
        let (mut session, _) = session();
        assert_eq!(session.line("status"), Action::Status);
        assert_eq!(session.line(" logs  toold "), Action::Logs(Some("toold".into())));
        assert_eq!(session.line("reboot"), Action::Reboot);
        for command in ["start toold", "stop toold", "restart toold", "check-data", "factory-reset"] {
            assert!(said(session.line(command)).contains("Only the owner"), "{command}");
            assert!(said(session.line("aios-00ff")).contains("no such command"), "{command}");
        }
        assert!(said(session.line("unlock 0000")).contains("not the owner's signature"));
        assert_eq!(session.proof(), None);
    }

    #[test]
    fn the_owner_erases_only_by_typing_the_machines_name_at_once() {
        let (mut session, signature) = session();
        assert!(said(session.line(&format!("unlock {}", signature.to_lowercase()))).starts_with("Unlocked"));
        assert_eq!(session.line("restart toold"), Action::Service(Change::Restart, "toold".into()));
        assert!(said(session.line("factory-reset")).contains("(aios-00ff)"));
        assert!(said(session.line("yes")).contains("Nothing is erased"));
        assert!(said(session.line("aios-00ff")).contains("no such command"), "the question had ended");
        session.line("factory-reset");
        assert_eq!(session.line("aios-00ff"), Action::FactoryReset);
        assert!(session.proof().is_some());
    }

    #[test]
    fn a_machine_without_a_key_is_never_unlocked() {
        let challenge = Challenge::new("00ff").expect("random");
        let signature = challenge.sign(&SigningKey::from_bytes(&[1; 32]));
        let mut session = Session::new(challenge, None, "aios-00ff");
        assert!(said(session.line(&format!("unlock {signature}"))).contains("no recovery key"));
        assert!(said(session.line("factory-reset")).contains("Only the owner"));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_without_the_signature_nothing_is_changed(
            lines in proptest::collection::vec("(unlock|start|stop|factory-reset|check-data|aios-00ff)? ?\\PC{0,20}", 0..20)
        ) {
            let (mut session, _) = session();
            for line in lines {
                let action = session.line(&line);
                let changes =
                    matches!(action, Action::Service(..) | Action::CheckData | Action::FactoryReset);
                prop_assert!(!changes, "{line}: {action:?}");
            }
        }
    }
}
