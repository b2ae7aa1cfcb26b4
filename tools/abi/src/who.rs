//! Who asks: processes are known by their socket's credentials, people by what the console vouches for.

use serde::{Deserialize, Serialize};

/// What a caller may do, from least to most. The order is used: a person who acts through the agent
/// gets the smaller of the two roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May look at everything that holds no secret.
    Viewer,
    /// May also make reversible changes.
    Operator,
    /// May also approve what the agent proposes.
    Approver,
    /// May do all that the policy does not forbid to everyone.
    Admin,
}

impl Role {
    /// The role's name as it appears in JSON and in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }
}

/// A person, as the console authenticated them. Believed only when the console or the agent says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Login name.
    pub name: String,
    /// The role that this login has.
    pub role: Role,
}

/// The process at the other end of a socket, from `SO_PEERCRED` (unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id when it connected.
    pub pid: u32,
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
}

/// User ids of the appliance's own daemons, as written to the image's `/etc/passwd`.
pub mod uid {
    /// init, and what it runs of its own.
    pub const ROOT: u32 = 0;
    /// The inference daemon and its engine workers.
    pub const INFERD: u32 = 101;
    /// The agent.
    pub const AGENTD: u32 = 102;
    /// The console.
    pub const CONSOLE: u32 = 103;
    /// The network daemon.
    pub const NETD: u32 = 104;
    /// The tool daemon.
    pub const TOOLD: u32 = 105;
    /// The workshop, which makes a process for each call of a tool.
    pub const WORKSHOP: u32 = 106;
    /// Those processes.
    pub const WORKER: u32 = 107;
}
