//! The broker's questions about accounts, over a local socket.
//!
//! toold asks the console here while the console may be asking toold. Neither waits for the other while it holds anything: a
//! request is a task of its own, and what takes time (a hash, the disk) is done on threads that ask nobody.

use crate::cert;
use crate::claim::ClaimCode;
use crate::password::Kept;
use crate::people;
use crate::state::{Shared, unix_ms};
use crate::store::{Back, random};
use aios_abi::CallError;
use aios_abi::accounts::{
    Account, AccountChange, Accounts, AccountsReply, AccountsRequest, MAX_DAYS, MAX_NAMES, Secret,
};
use aios_abi::server::{Context, Handler};
use aios_abi::who::{Peer, Role, uid};
use std::sync::Arc;
use std::time::SystemTime;

/// Answers about accounts.
pub struct Server {
    app: Shared,
    own: u32,
}

impl Server {
    /// The console's; it is answered who may know it.
    pub fn new(app: Shared) -> Self {
        Self { app, own: rustix::process::geteuid().as_raw() }
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, CallError> {
        let all = self.app.with_store(|store| store.accounts(unix_ms())).await?;
        Ok(all.into_iter().find(|account| account.name == name))
    }

    async fn change(&self, by: Role, number: u64, change: AccountChange) -> Result<AccountsReply, CallError> {
        let Some(name) = people::name_of(&change).map(str::to_owned) else {
            return self.renew(number, change).await;
        };
        // Before the hash: what cannot be done keeps no processor busy.
        let asked = change.clone();
        self.app.with_store(move |store| store.check(by, &asked)).await?;
        let password = match people::needs_password(&change) {
            true => Some(ClaimCode::from_random(random()?).to_string()),
            false => None,
        };
        let kept = match password.clone() {
            Some(text) => {
                let salt = random()?;
                Some(self.app.hash(move || Kept::new(&text, salt)).await??)
            }
            None => None,
        };
        self.app.with_store(move |store| store.change(by, number, &change, kept.as_ref())).await?;
        self.app.revoked.send_replace(());
        // Whoever guessed at it made its owner wait; a new password is a new beginning.
        if password.is_some() {
            self.app.lockout().succeeded(&name);
        }
        let account = self.account(&name).await?;
        Ok(AccountsReply::Changed { account, password: password.map(Secret::new) })
    }

    async fn renew(&self, number: u64, change: AccountChange) -> Result<AccountsReply, CallError> {
        let AccountChange::Certificate { names } = change else {
            return Err(CallError::invalid("this change names nobody"));
        };
        let identity = &self.app.identity;
        let pem = cert::make(&names_for(names, &identity.certificate())?)?;
        let made = cert::Identity::from_pem(&pem)?;
        self.app.with_store(move |store| store.set_identity(number, &pem)).await?;
        identity.replace(made);
        self.app.show(format!("aios: certificate sha256 {}", identity.fingerprint()));
        Ok(AccountsReply::Changed { account: None, password: None })
    }

    async fn take_back(&self, by: Role, number: u64) -> Result<AccountsReply, CallError> {
        let what = match self.app.with_store(move |store| store.take_back(by, number)).await? {
            Back::Nothing => "nothing had been changed".to_owned(),
            Back::Account(name, None) => format!("{name} has no account, as before"),
            Back::Account(name, Some(person)) => {
                format!("the account of {name} is as it was before: {}", person.role.as_str())
            }
            Back::Identity(pem) => {
                let identity = &self.app.identity;
                identity.go_back(pem.as_ref())?;
                self.app.show(format!("aios: certificate sha256 {}", identity.fingerprint()));
                format!("the certificate {} is in use again", identity.fingerprint())
            }
        };
        self.app.revoked.send_replace(());
        Ok(AccountsReply::TakenBack(what))
    }
}

/// The names that a new certificate is for.
fn names_for(asked: Vec<String>, present: &[u8]) -> Result<Vec<String>, CallError> {
    let names = if asked.is_empty() { cert::names(present)? } else { asked };
    if names.len() > MAX_NAMES {
        let text =
            format!("{} names are too many for one certificate; give at most {MAX_NAMES}", names.len());
        return Err(CallError::invalid(text));
    }
    match names.iter().find(|name| !cert::is_name(name)) {
        Some(name) => Err(CallError::invalid(format!("`{name}` is no host name and no address"))),
        None => Ok(names),
    }
}

/// Whether this user's processes are answered: the broker's and root's, and one's own where it was started by hand.
fn is_known(own: u32, user: u32) -> bool {
    matches!(user, uid::ROOT | uid::TOOLD) || (own != uid::CONSOLE && user == own)
}

impl Handler<Accounts> for Server {
    fn knows(&self, peer: &Peer) -> bool {
        is_known(self.own, peer.uid)
    }

    async fn handle(
        self: Arc<Self>,
        context: Context<Accounts>,
        request: AccountsRequest,
    ) -> Result<AccountsReply, CallError> {
        if !self.knows(&context.peer) {
            tracing::warn!("a process of user {} was turned away from the accounts", context.peer.uid);
            return Err(CallError::denied("accounts are for the tool broker alone; use the tools users.*"));
        }
        let by = context.meta.person.as_ref().map_or(Role::Viewer, |person| person.role);
        match request {
            AccountsRequest::List => {
                self.app.with_store(|store| store.accounts(unix_ms())).await.map(AccountsReply::Accounts)
            }
            AccountsRequest::Check(change) => {
                let before = match people::name_of(&change) {
                    Some(name) => self.account(name).await?,
                    None => None,
                };
                if let AccountChange::Certificate { names } = &change {
                    names_for(names.clone(), &self.app.identity.certificate())?;
                }
                self.app.with_store(move |store| store.check(by, &change)).await?;
                // 0 is the state of the account that claimed the machine.
                let number = u64::from_le_bytes(random()?).max(1);
                Ok(AccountsReply::Fits { number, before })
            }
            AccountsRequest::Change { number, change } => self.change(by, number, change).await,
            AccountsRequest::TakeBack { number } => self.take_back(by, number).await,
            AccountsRequest::EndLogins { name } => {
                let ended = self.app.with_store(move |store| store.end_logins(by, name.as_deref())).await?;
                self.app.revoked.send_replace(());
                Ok(AccountsReply::Ended { sessions: ended.0, tokens: ended.1 })
            }
            AccountsRequest::Issue { names, days } => {
                if by < Role::Admin {
                    return Err(CallError::denied("only an admin has certificates issued"));
                }
                if !(1..=MAX_DAYS).contains(&days) {
                    return Err(CallError::invalid(format!("{days} days are not 1 to {MAX_DAYS}")));
                }
                if names.is_empty() {
                    return Err(CallError::invalid("name the hosts that the certificate is for"));
                }
                let issued = self.app.identity.issue(&names_for(names, &[])?, days, SystemTime::now())?;
                let cert::Issued { pem, authority } = issued;
                Ok(AccountsReply::Issued {
                    key: Secret::new(pem.key),
                    certificate: pem.certificate,
                    authority,
                })
            }
            AccountsRequest::Certificate => Ok(AccountsReply::Certificate(self.app.identity.certificate())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_and_root_are_answered() {
        for known in [uid::ROOT, uid::TOOLD] {
            assert!(is_known(uid::CONSOLE, known));
        }
        for stranger in [uid::CONSOLE, uid::AGENTD, uid::INFERD, uid::NETD, uid::WORKSHOP, uid::WORKER, 1000]
        {
            assert!(!is_known(uid::CONSOLE, stranger), "{stranger}");
        }
        assert!(is_known(1000, 1000));
    }
}
