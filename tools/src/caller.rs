//! Who asks: from the socket's credentials and the person that a trusted process names.

use aios_abi::call::Meta;
use aios_abi::who::{Peer, Person, Role, uid};
use aios_abi::{CallError, ErrorCode};

/// Who asks, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The process: `root`, `agentd`, `console` or `uid 1000`.
    pub by: String,
    /// The person on whose behalf it asks.
    pub person: Option<Person>,
    /// What they may do.
    pub role: Role,
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
        uid::AGENTD => ("agentd".into(), role_of(&named, Role::Operator).min(Role::Operator), named),
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
}
