//! What the tools for people share. The console keeps accounts and passwords and decides what may be done to them; SSH keys
//! are files (`ssh_keys`).

use crate::ctx::Ctx;
use crate::declaration::{Change, Preview, Undo};
use crate::policy::Target;
use crate::reach::{Asks, Needs, Paths, Way};
use crate::ssh_keys::{self, CONFIG, Key, Keys, OFF, Rewrite};
use crate::tool::fs::shared::CHANGES;
use crate::undo::Kept;
use aios_abi::accounts::{self, AccountChange, AccountsReply, AccountsRequest};
use aios_abi::{CallError, who};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What it takes to change an account and files of keys.
pub(crate) const NEEDS: Needs = CHANGES.asks(&[Asks::AccountsToAct]);

/// The configuration is what changes: the directory of the keys may have to be made.
pub(crate) fn paths<T>(_: &T) -> Paths {
    vec![(Way::Change, CONFIG.into())]
}

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    Viewer,
    /// Also make changes that can be taken back.
    Operator,
    /// Also approve what the agent proposes.
    Approver,
    /// All that is not forbidden to everybody.
    Admin,
}

impl From<Role> for who::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
            Role::Approver => Self::Approver,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<who::Role> for Role {
    fn from(role: who::Role) -> Self {
        match role {
            who::Role::Viewer => Self::Viewer,
            who::Role::Operator => Self::Operator,
            who::Role::Approver => Self::Approver,
            who::Role::Admin => Self::Admin,
        }
    }
}

/// A person's account.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Account {
    /// Login name.
    pub(crate) name: String,
    /// What this person may do.
    pub(crate) role: Role,
    /// Nobody can log in with it.
    pub(crate) disabled: bool,
    /// The password was made by the machine and has to be changed at the next login.
    pub(crate) password_due: bool,
    /// Browsers that are logged in.
    pub(crate) sessions: u32,
    /// Programs that have a token, `aiosctl` among them.
    pub(crate) tokens: u32,
}

impl From<accounts::Account> for Account {
    fn from(account: accounts::Account) -> Self {
        let accounts::Account { name, role, disabled, password_due, sessions, tokens } = account;
        Self { name, role: role.into(), disabled, password_due, sessions, tokens }
    }
}

/// All accounts.
pub(crate) fn all(ctx: &Ctx) -> Result<Vec<Account>, CallError> {
    match ctx.accounts(AccountsRequest::List)? {
        AccountsReply::Accounts(accounts) => Ok(accounts.into_iter().map(Account::from).collect()),
        _ => Err(unexpected()),
    }
}

/// One account.
pub(crate) fn one(ctx: &Ctx, name: &str) -> Result<Account, CallError> {
    let found = all(ctx)?.into_iter().find(|account| account.name == name);
    found.ok_or_else(|| CallError::not_found(format!("{name} has no account; users.list shows all")))
}

pub(crate) fn unexpected() -> CallError {
    CallError::failed("the console answered something else than was asked; use programs of one release")
}

/// What came of a change.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// Login name.
    name: String,
    /// The account now; none where it was removed.
    account: Option<Account>,
    /// The password that the machine made. It is said this once, and serves to choose another at the next login.
    one_time_password: Option<String>,
    /// What was done, in words.
    #[serde(skip)]
    done: String,
}

pub(crate) fn summary(changed: &Changed) -> String {
    match changed.one_time_password {
        // The password itself stands in the result alone: this line is recorded.
        Some(_) => format!("{}; the password in the result is said this once", changed.done),
        None => changed.done.clone(),
    }
}

/// A change of an account, and of the files of keys that go with it.
pub(crate) struct Amend {
    name: String,
    change: AccountChange,
    number: u64,
    files: Vec<Rewrite>,
    would: String,
    done: String,
}

/// What undo has to know: the console keeps the rest under the number.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    number: u64,
    files: Vec<Rewrite>,
}

/// Takes it back.
pub(crate) const UNDO: Undo = Undo { paths: |kept| Ok(paths(kept)), run: undo };

impl Amend {
    /// Ask whether it can be done. `would` and `done` say what it is.
    pub(crate) fn prepare(
        ctx: &Ctx,
        change: AccountChange,
        would: String,
        done: String,
    ) -> Result<Self, CallError> {
        let (number, before) = match ctx.accounts(AccountsRequest::Check(change.clone()))? {
            AccountsReply::Fits { number, before } => (number, before),
            _ => return Err(unexpected()),
        };
        let keys = Keys::of(ctx);
        let (name, files) = match &change {
            // Keys of somebody who had this name are not for the next one.
            AccountChange::Create { name, .. } | AccountChange::Remove { name } => {
                let on = keys.rewrite(name, None)?;
                let off = keys.rewrite(&format!("{name}{OFF}"), None)?;
                (name.clone(), vec![on, off])
            }
            AccountChange::Modify { name, disabled: Some(disabled), .. }
                if before.is_some_and(|before| before.disabled != *disabled) =>
            {
                (name.clone(), keys.switch(name, *disabled)?)
            }
            AccountChange::Modify { name, .. } => (name.clone(), Vec::new()),
            AccountChange::Certificate { .. } => {
                return Err(CallError::failed("a certificate is no account"));
            }
        };
        Ok(Self { name, change, number, files, would, done })
    }
}

impl Change for Amend {
    type Output = Changed;

    fn target(&self) -> Target {
        Target::Account(self.name.clone())
    }

    fn preview(&self) -> Preview {
        Preview { would: self.would.clone(), diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&Note { number: self.number, files: self.files.clone() }, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Changed, CallError> {
        let keys = Keys::of(ctx);
        keys.make(&self.files)?;
        let request = AccountsRequest::Change { number: self.number, change: self.change.clone() };
        let changed = match ctx.accounts(request) {
            Ok(AccountsReply::Changed { account, password }) => (account, password),
            other => {
                keys.take_back(&self.files)?;
                return Err(other.err().unwrap_or_else(unexpected));
            }
        };
        Ok(Changed {
            name: self.name.clone(),
            account: changed.0.map(Account::from),
            one_time_password: changed.1.map(|password| password.expose().to_owned()),
            done: self.done.clone(),
        })
    }
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let note: Note = kept.read()?;
    let keys = Keys::of(ctx);
    keys.can_be_taken_back(&note.files)?;
    let what = match ctx.accounts(AccountsRequest::TakeBack { number: note.number })? {
        AccountsReply::TakenBack(what) => what,
        _ => return Err(unexpected()),
    };
    keys.take_back(&note.files)?;
    Ok(what)
}

/// What it takes to change files of keys.
pub(crate) const KEY_NEEDS: Needs = CHANGES.asks(&[Asks::AccountsToLook]);

/// A key that is added or removed.
pub(crate) struct KeyChange {
    name: String,
    file: Rewrite,
    key: Key,
    word: &'static str,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyChanged {
    /// Login name.
    name: String,
    /// The key that was added or removed.
    key: Key,
    /// Keys that this person has now.
    keys: Vec<Key>,
    /// `has` or `had`.
    #[serde(skip)]
    word: &'static str,
}

pub(crate) fn key_summary(changed: &KeyChanged) -> String {
    let KeyChanged { name, key, keys, word } = changed;
    let Key { kind, fingerprint, .. } = key;
    match *word {
        "has" => format!("{name} has the key {fingerprint} ({kind}), {} in all", keys.len()),
        _ => format!("{name} has the key {fingerprint} no more; {} are left", keys.len()),
    }
}

impl KeyChange {
    pub(crate) fn prepare(
        ctx: &Ctx,
        name: String,
        word: &'static str,
        edit: impl FnOnce(&str) -> Result<(String, Key), CallError>,
    ) -> Result<Self, CallError> {
        let account = one(ctx, &name)?;
        let file = Keys::of(ctx).rewrite(&Keys::file_of(&account.name, account.disabled), None)?;
        let (after, key) = edit(file.before())?;
        Ok(Self { name, file: file.to(after), key, word })
    }
}

impl Change for KeyChange {
    type Output = KeyChanged;

    fn target(&self) -> Target {
        Target::Account(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let (name, fingerprint) = (&self.name, &self.key.fingerprint);
        let would = match self.word {
            "has" => format!("let {name} in over SSH with the key {fingerprint}"),
            _ => format!("take the SSH key {fingerprint} from {name}"),
        };
        Preview { would, diff: None }
    }

    fn save(&self) -> Option<Kept> {
        Some(Kept::new(&self.file, None))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<KeyChanged, CallError> {
        Keys::of(ctx).make(std::slice::from_ref(&self.file))?;
        let keys = ssh_keys::keys(self.file.after());
        Ok(KeyChanged { name: self.name.clone(), key: self.key.clone(), keys, word: self.word })
    }
}

/// Takes it back.
pub(crate) const KEY_UNDO: Undo = Undo { paths: |kept| Ok(paths(kept)), run: undo_key };

fn undo_key(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let file: Rewrite = kept.read()?;
    Keys::of(ctx).take_back(std::slice::from_ref(&file))?;
    Ok(format!("the keys of {} are as they were before", file.whose()))
}
