//! What the console serves to the broker: the people who may log in, their logins, and the certificate by which they know
//! the machine. It verifies passwords, so it keeps them; neither a password that somebody chose nor its hash crosses this socket.

use crate::call::Protocol;
use crate::who::Role;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The protocol of `/run/aios/console.sock`. Only toold (and root) is answered. Whoever asks is [`Meta::person`], with the
/// role that the broker found: nobody changes an account above that, or makes one.
///
/// [`Meta::person`]: crate::call::Meta::person
pub struct Accounts;

impl Protocol for Accounts {
    type Request = AccountsRequest;
    type Event = ();
    type Reply = AccountsReply;
    const SOCKET: &'static str = crate::paths::CONSOLE_SOCKET;
    const SERVER: &'static str = "console";
}

/// Accounts at most.
pub const MAX_ACCOUNTS: usize = 256;
/// Names of a certificate at most.
pub const MAX_NAMES: usize = 32;
/// Days that an issued certificate counts at most: browsers take none that counts longer.
pub const MAX_DAYS: u32 = 397;

/// A request to the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountsRequest {
    /// All accounts.
    List,
    /// Whether this could be done by whoever asks; nothing changes. The answer has a number for it.
    Check(AccountChange),
    /// Do it.
    Change {
        /// Number that [`AccountsReply::Fits`] gave, by which it is taken back.
        number: u64,
        /// What.
        change: AccountChange,
    },
    /// Take it back.
    TakeBack {
        /// Its number.
        number: u64,
    },
    /// End all sessions and tokens at once.
    EndLogins {
        /// Of this person; of everybody if none is named.
        name: Option<String>,
    },
    /// The certificate in use.
    Certificate,
    /// Make a key and a certificate for it that the machine's own authority signs, for a service. Neither is kept.
    Issue {
        /// Host names and addresses that it is for, 1 to [`MAX_NAMES`].
        names: Vec<String>,
        /// Days that it counts, 1 to [`MAX_DAYS`].
        days: u32,
    },
}

/// A change that can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountChange {
    /// Make an account. The console makes a password for it, which must be changed at the first login.
    Create {
        /// Login name.
        name: String,
        /// Role.
        role: Role,
    },
    /// Remove an account; its sessions and tokens end.
    Remove {
        /// Login name.
        name: String,
    },
    /// Change an account.
    Modify {
        /// Login name.
        name: String,
        /// The new role; as it is if none is given.
        role: Option<Role>,
        /// Whether nobody can log in with it; as it is if nothing is said. Then its sessions and tokens end.
        disabled: Option<bool>,
        /// Give it a password of the console's, which must be changed at the next login; its sessions and tokens end.
        new_password: bool,
    },
    /// Make a new key and a certificate for it. Connections that are open go on.
    Certificate {
        /// Host names and addresses that it is for, at most [`MAX_NAMES`]; those of the present one if there are none.
        names: Vec<String>,
    },
}

/// The answer of the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountsReply {
    /// By name.
    Accounts(Vec<Account>),
    /// It could be done.
    Fits {
        /// To do it and to take it back with.
        number: u64,
        /// The account as it is now, if there is one.
        before: Option<Account>,
    },
    /// It is done.
    Changed {
        /// The account now; none where it was removed.
        account: Option<Account>,
        /// The password that the console made, which is not kept and said once only.
        password: Option<Secret>,
    },
    /// It is taken back: in a few words what is so now.
    TakenBack(String),
    /// So many have ended.
    Ended {
        /// Sessions of browsers.
        sessions: u32,
        /// Tokens of programs.
        tokens: u32,
    },
    /// The certificate in use: DER (RFC 5280).
    Certificate(Vec<u8>),
    /// What was made, each in PEM.
    Issued {
        /// The private key (RFC 5208).
        key: Secret,
        /// The certificate.
        certificate: String,
        /// That of the authority, which is the same for all: whoever trusts it trusts what this machine issues.
        authority: String,
    },
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Nobody can log in with it.
    pub disabled: bool,
    /// Its password was made by the console and has not been changed yet.
    pub password_due: bool,
    /// Sessions of browsers that have not ended.
    pub sessions: u32,
    /// Tokens of programs.
    pub tokens: u32,
}

/// A password or a private key that the console made. It is shown on purpose only, with [`Self::expose`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// This text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the person whom it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
