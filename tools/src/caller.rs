//! Who asks: from the socket's credentials and the person that a trusted process names.

use aios_abi::call::Meta;
use aios_abi::who::{Peer, Person, Role, uid};
use aios_abi::{CallError, ErrorCode};
use serde::{Deserialize, Serialize};

/// How the agent is called where a process that asks is named.
const AGENT: &str = "agentd";

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The process: `root`, `agentd`, `console` or `uid 1000`.
    pub by: String,
    /// The person on whose behalf it asks.
    pub person: Option<Person>,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// The broker, for what it does of its own accord.
    pub fn broker() -> Self {
        Self { by: "toold".into(), person: None, role: Role::Admin }
    }

    /// What rules see of it.
    pub fn subject(&self) -> aios_policy::Subject {
        let alone = self.by == AGENT && self.person.is_none();
        let person = self.person.as_ref().map(|person| person.name.clone());
        aios_policy::Subject { by: self.by.clone(), person, role: self.role, alone }
    }

    /// Whether the role is enough for this; the refusal says what would be.
    pub fn must_be(&self, least: Role, what: impl std::fmt::Display) -> Result<(), CallError> {
        if self.role >= least {
            return Ok(());
        }
        let enough_without_agent =
            self.by == AGENT && self.person.as_ref().is_some_and(|person| person.role >= least);
        let (least, role) = (least.as_str(), self.role.as_str());
        Err(CallError::denied(match enough_without_agent {
            true => format!(
                "{what} needs the role {least}, and the agent may act as {role} at most; call the tool yourself: \
                 aiosctl tools call …"
            ),
            false => format!("{what} needs the role {least}, the caller has the role {role}"),
        }))
    }
}

/// The appliance's rule. Root is an administrator, and so is the user whose power the broker itself
/// has (`own`; root as well, unless it was started by hand). The console and the agent may name a
/// person; the agent never gets more than its own role, operator, whoever it speaks for, so that
/// nothing that a model proposes is done with an administrator's power. Everyone else is refused.
pub fn identify(own: u32, peer: &Peer, meta: &Meta) -> Result<Caller, CallError> {
    let named = meta.person.clone();
    let role_of = |person: &Option<Person>, alone: Role| person.as_ref().map_or(alone, |p| p.role);
    let (by, role, person) = match peer.uid {
        uid::ROOT => ("root".into(), Role::Admin, named),
        uid::CONSOLE => ("console".into(), role_of(&named, Role::Viewer), named),
        uid::AGENTD => (AGENT.into(), role_of(&named, Role::Operator).min(Role::Operator), named),
        user if user == own => (format!("uid {user}"), Role::Admin, named),
        other => {
            return Err(CallError::new(
                ErrorCode::Denied,
                format!(
                    "processes of user {other} may not call tools; only root, the console and the agent may"
                ),
            ));
        }
    };
    Ok(Caller { by, person, role })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(own: u32, uid: u32, role: Option<Role>) -> Option<Role> {
        let person = role.map(|role| Person { name: "ada".into(), role });
        let meta = Meta::why("test").on_behalf_of(person);
        identify(own, &Peer { pid: 1, uid, gid: uid }, &meta).ok().map(|caller| caller.role)
    }

    #[test]
    fn the_role_follows_from_process_and_person() {
        use Role::{Admin, Approver, Operator, Viewer};
        let table = [
            (uid::ROOT, None, Some(Admin)),
            (uid::ROOT, Some(Viewer), Some(Admin)),
            (uid::CONSOLE, None, Some(Viewer)),
            (uid::CONSOLE, Some(Viewer), Some(Viewer)),
            (uid::CONSOLE, Some(Admin), Some(Admin)),
            (uid::AGENTD, None, Some(Operator)),
            (uid::AGENTD, Some(Viewer), Some(Viewer)),
            (uid::AGENTD, Some(Approver), Some(Operator)),
            (uid::AGENTD, Some(Admin), Some(Operator)),
            (uid::INFERD, Some(Admin), None),
            (uid::NETD, None, None),
            (1000, Some(Admin), None),
        ];
        for (uid, person, expected) in table {
            assert_eq!(ask(uid::ROOT, uid, person), expected, "uid {uid}, person {person:?}");
        }
        assert_eq!(ask(1000, 1000, None), Some(Admin));
        assert_eq!(ask(uid::AGENTD, uid::AGENTD, None), Some(Operator));
    }

    #[test]
    fn an_administrator_whose_agent_is_refused_hears_what_helps() {
        let refusal = |uid, role| {
            let meta = Meta::why("test").on_behalf_of(Some(Person { name: "ada".into(), role }));
            let caller = identify(uid::ROOT, &Peer { pid: 1, uid, gid: uid }, &meta).expect("may ask");
            caller.must_be(Role::Admin, "process.kill").expect_err("refused").message
        };
        assert_eq!(
            refusal(uid::AGENTD, Role::Admin),
            "process.kill needs the role admin, and the agent may act as operator at most; call the tool yourself: \
             aiosctl tools call …"
        );
        for (uid, role) in [(uid::AGENTD, Role::Operator), (uid::CONSOLE, Role::Operator)] {
            assert_eq!(
                refusal(uid, role),
                "process.kill needs the role admin, the caller has the role operator"
            );
        }
        assert_eq!(Caller::broker().must_be(Role::Admin, "x"), Ok(()));
    }
}
