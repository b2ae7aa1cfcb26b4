//! Accounts, sessions and tokens, in one redb file under the data directory.
//!
//! Sessions and tokens are kept as BLAKE3 hashes of 32 random bytes: whoever reads the file cannot log
//! in with what he finds. Every write is one durable transaction.

mod changes;

pub use changes::{Back, Pem};

use crate::password::Kept;
use aios_abi::CallError;
use aios_abi::who::{Person, Role};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

type Table = TableDefinition<'static, &'static str, &'static [u8]>;
const USERS: Table = Table::new("users");
const SESSIONS: Table = Table::new("sessions");
const TOKENS: Table = Table::new("tokens");
/// What is there once.
const SINGLE: Table = Table::new("single");

/// Milliseconds that a session lasts.
pub const SESSION_MS: u64 = 12 * 60 * 60_000;
/// Sessions of one account at once; the oldest makes room.
const MAX_SESSIONS: usize = 32;
/// Tokens of one account at once.
const MAX_TOKENS: usize = 64;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Login name and role.
    pub person: Person,
    /// The password.
    pub password: Kept,
    /// Nobody can log in with it.
    #[serde(default)]
    pub disabled: bool,
    /// The password was made by the console and only serves to set another.
    #[serde(default)]
    pub password_due: bool,
    /// Which state this is; each change makes another, but for that of one's own password. 0 is the account that claimed.
    #[serde(default)]
    pub revision: u64,
}

impl User {
    /// Whether this is an administrator who can log in.
    pub fn is_active_admin(&self) -> bool {
        self.person.role == Role::Admin && !self.disabled
    }
}

/// A login.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    name: String,
    expires_ms: u64,
}

/// A token for programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Token {
    name: String,
    label: String,
    created_ms: u64,
}

/// A secret that its bearer is known by.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// 32 bytes from the kernel.
    pub fn random() -> Result<Self, CallError> {
        Ok(Self(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }

    /// A secret that a client sent.
    pub fn sent(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text to give to its bearer.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn key(&self) -> String {
        blake3::hash(self.0.as_bytes()).to_string()
    }
}

/// Random bytes from the kernel (getrandom(2)).
pub fn random<const N: usize>() -> Result<[u8; N], CallError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| CallError::failed(format!("the kernel gives no random numbers: {e}")))?;
    Ok(bytes)
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

fn failed(error: impl Into<redb::Error>) -> CallError {
    CallError::failed(format!("the account file cannot be used: {}", error.into()))
}

fn encode(item: &impl Serialize) -> Result<Vec<u8>, CallError> {
    serde_json::to_vec(item).map_err(|e| CallError::failed(format!("a record cannot be encoded: {e}")))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

impl Store {
    /// Open the file, or make it. One that is damaged beyond reading is moved aside, so that the
    /// machine can be claimed again by whoever stands before it.
    pub fn open(path: &Path) -> Result<Self, CallError> {
        let database = match Database::create(path) {
            Ok(database) => database,
            Err(error) if is_damage(&error) => {
                let aside = path.with_extension("redb.broken");
                tracing::error!(
                    "{} is damaged ({error}); it is kept as {} and the machine is unclaimed",
                    path.display(),
                    aside.display()
                );
                std::fs::rename(path, &aside)?;
                Database::create(path).map_err(failed)?
            }
            Err(error) => {
                return Err(CallError::failed(format!("{} cannot be opened: {error}", path.display())));
            }
        };
        let write = database.begin_write().map_err(failed)?;
        for table in [USERS, SESSIONS, TOKENS, SINGLE] {
            write.open_table(table).map_err(failed)?;
        }
        write.open_table(changes::CHANGES).map_err(failed)?;
        write.commit().map_err(failed)?;
        Ok(Self { database })
    }

    /// Whether there is an account.
    pub fn claimed(&self) -> Result<bool, CallError> {
        let read = self.database.begin_read().map_err(failed)?;
        let users = read.open_table(USERS).map_err(failed)?;
        Ok(users.first().map_err(failed)?.is_some())
    }

    /// Make the first account; a second first account is a conflict.
    pub fn claim(&self, user: &User) -> Result<(), CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        {
            let mut users = write.open_table(USERS).map_err(failed)?;
            if users.first().map_err(failed)?.is_some() {
                return Err(already_claimed());
            }
            users.insert(user.person.name.as_str(), encode(user)?.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// An account by name.
    pub fn user(&self, name: &str) -> Result<Option<User>, CallError> {
        self.read(USERS, name)
    }

    /// The same, if it may log in.
    fn active(&self, name: &str) -> Result<Option<User>, CallError> {
        Ok(self.user(name)?.filter(|user| !user.disabled))
    }

    /// Begin a session.
    pub fn begin_session(&self, user: &User, now_ms: u64) -> Result<Secret, CallError> {
        let secret = Secret::random()?;
        let person = &user.person;
        let session = Session { name: person.name.clone(), expires_ms: now_ms + SESSION_MS };
        let write = self.database.begin_write().map_err(failed)?;
        is_still(&write, user)?;
        {
            let mut sessions = write.open_table(SESSIONS).map_err(failed)?;
            // What has expired goes with the next login; nothing else cleans up.
            sessions
                .retain(|_, bytes| decode::<Session>(bytes).is_some_and(|old| live(old.expires_ms, now_ms)))
                .map_err(failed)?;
            let mut own = Vec::new();
            for entry in sessions.iter().map_err(failed)? {
                let (key, bytes) = entry.map_err(failed)?;
                if let Some(old) = decode::<Session>(bytes.value()).filter(|s| s.name == person.name) {
                    own.push((old.expires_ms, key.value().to_owned()));
                }
            }
            own.sort();
            let surplus = (own.len() + 1).saturating_sub(MAX_SESSIONS);
            for (_, key) in own.iter().take(surplus) {
                sessions.remove(key.as_str()).map_err(failed)?;
            }
            sessions.insert(secret.key().as_str(), encode(&session)?.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)?;
        Ok(secret)
    }

    /// Whose session this is, and when it ends.
    pub fn session(&self, secret: &Secret, now_ms: u64) -> Result<Option<(Person, u64)>, CallError> {
        let Some(session) = self.read::<Session>(SESSIONS, &secret.key())? else { return Ok(None) };
        if !live(session.expires_ms, now_ms) {
            return Ok(None);
        }
        Ok(self.active(&session.name)?.map(|user| (user.person, session.expires_ms)))
    }

    /// End a session.
    pub fn end_session(&self, secret: &Secret) -> Result<(), CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        write.open_table(SESSIONS).map_err(failed)?.remove(secret.key().as_str()).map_err(failed)?;
        write.commit().map_err(failed)
    }

    /// Make a token.
    pub fn make_token(&self, user: &User, label: &str, now_ms: u64) -> Result<Secret, CallError> {
        let secret = Secret::random()?;
        let person = &user.person;
        let token = Token { name: person.name.clone(), label: label.to_owned(), created_ms: now_ms };
        let write = self.database.begin_write().map_err(failed)?;
        is_still(&write, user)?;
        {
            let mut tokens = write.open_table(TOKENS).map_err(failed)?;
            // A token for a label that is there already takes its place: `aiosctl login` again and
            // again must not pile up tokens.
            let mut own = 0;
            let mut replaced = None;
            for entry in tokens.iter().map_err(failed)? {
                let (key, bytes) = entry.map_err(failed)?;
                let Some(old) = decode::<Token>(bytes.value()).filter(|t| t.name == person.name) else {
                    continue;
                };
                own += 1;
                if old.label == label {
                    replaced = Some(key.value().to_owned());
                }
            }
            if let Some(key) = replaced {
                tokens.remove(key.as_str()).map_err(failed)?;
            } else if own >= MAX_TOKENS {
                return Err(CallError::new(
                    aios_abi::ErrorCode::Busy,
                    format!("{} has {MAX_TOKENS} tokens; use the label of one to replace it", person.name),
                ));
            }
            tokens.insert(secret.key().as_str(), encode(&token)?.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)?;
        Ok(secret)
    }

    /// Whose token this is.
    pub fn token(&self, secret: &Secret) -> Result<Option<Person>, CallError> {
        let Some(token) = self.read::<Token>(TOKENS, &secret.key())? else { return Ok(None) };
        Ok(self.active(&token.name)?.map(|user| user.person))
    }

    /// Take a token back; one that is not there is taken back already.
    pub fn end_token(&self, secret: &Secret) -> Result<(), CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        write.open_table(TOKENS).map_err(failed)?.remove(secret.key().as_str()).map_err(failed)?;
        write.commit().map_err(failed)
    }

    fn read<T: DeserializeOwned>(&self, table: Table, key: &str) -> Result<Option<T>, CallError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = read.open_table(table).map_err(failed)?;
        let Some(bytes) = table.get(key).map_err(failed)? else { return Ok(None) };
        decode(bytes.value())
            .map(Some)
            .ok_or_else(|| CallError::failed("a record of the account file cannot be read"))
    }
}

/// A login that was proved a moment ago must not begin when the account has been changed since.
fn is_still(write: &WriteTransaction, user: &User) -> Result<(), CallError> {
    let users = write.open_table(USERS).map_err(failed)?;
    let now = users.get(user.person.name.as_str()).map_err(failed)?;
    match now.and_then(|bytes| decode::<User>(bytes.value())) {
        Some(now) if now == *user && !now.disabled => Ok(()),
        _ => Err(CallError::new(
            aios_abi::ErrorCode::Conflict,
            format!("the account of {} was changed at this moment; log in again", user.person.name),
        )),
    }
}

/// A session that ends later than one begun now could has a clock that jumped back behind it: it would
/// last too long.
fn live(expires_ms: u64, now_ms: u64) -> bool {
    expires_ms > now_ms && expires_ms <= now_ms.saturating_add(SESSION_MS)
}

fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => true,
        DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(e)) => {
            matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

/// The answer to a second claim.
pub fn already_claimed() -> CallError {
    CallError::new(aios_abi::ErrorCode::Conflict, "this machine has been claimed already; log in instead")
}

/// The role of the account that claims the machine.
pub const FIRST_ROLE: Role = Role::Admin;

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store, User) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(&folder.path().join("console.redb")).expect("opens");
        let person = Person { name: "ada".into(), role: FIRST_ROLE };
        let password = Kept::new("0123456789", [0; 16]).expect("hash");
        let user = User { person, password, disabled: false, password_due: false, revision: 0 };
        (folder, store, user)
    }

    #[test]
    fn the_first_account_is_made_once() {
        let (_folder, store, user) = store();
        assert!(!store.claimed().expect("reads"));
        store.claim(&user).expect("claims");
        assert!(store.claimed().expect("reads"));
        let second = store.claim(&user).expect_err("conflict");
        assert_eq!(second.code, aios_abi::ErrorCode::Conflict);
        assert_eq!(store.user("ada").expect("reads"), Some(user));
        assert_eq!(store.user("bob").expect("reads"), None);
    }

    #[test]
    fn a_session_lasts_twelve_hours_or_until_it_is_ended() {
        let (_folder, store, user) = store();
        store.claim(&user).expect("claims");
        let secret = store.begin_session(&user, 1000).expect("begins");
        let whose = |now| store.session(&secret, now).expect("reads").map(|(person, _)| person.name);
        assert_eq!(whose(1000), Some("ada".into()));
        assert_eq!(whose(1000 + SESSION_MS), None);
        assert_eq!(whose(0), None, "the clock went back");
        store.end_session(&secret).expect("ends");
        assert_eq!(whose(1000), None);
        assert!(store.session(&Secret::sent("made up"), 1000).expect("reads").is_none());
    }

    #[test]
    fn sessions_of_one_account_are_bounded_and_the_oldest_goes_first() {
        let (_folder, store, user) = store();
        store.claim(&user).expect("claims");
        let secrets: Vec<_> = (0..MAX_SESSIONS as u64 + 1)
            .map(|n| store.begin_session(&user, 1000 + n).expect("begins"))
            .collect();
        assert!(store.session(&secrets[0], 2000).expect("reads").is_none());
        assert!(secrets[1..].iter().all(|s| store.session(s, 2000).expect("reads").is_some()));
    }

    #[test]
    fn a_token_is_replaced_by_the_next_one_with_its_label() {
        let (_folder, store, user) = store();
        store.claim(&user).expect("claims");
        let first = store.make_token(&user, "laptop", 1).expect("makes");
        assert_eq!(store.token(&first).expect("reads"), Some(user.person.clone()));
        let second = store.make_token(&user, "laptop", 2).expect("makes");
        assert_eq!(store.token(&first).expect("reads"), None);
        assert!(store.token(&second).expect("reads").is_some());
        store.end_token(&second).expect("ends");
        assert!(store.token(&second).expect("reads").is_none());
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_the_machine_is_unclaimed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("console.redb");
        std::fs::write(&path, vec![7; 8192]).expect("writes");
        let store = Store::open(&path).expect("opens anew");
        assert!(!store.claimed().expect("reads"));
        assert!(folder.path().join("console.redb.broken").exists());
    }

    #[test]
    fn the_file_holds_no_secret_in_the_clear() {
        let (folder, store, user) = store();
        store.claim(&user).expect("claims");
        let session = store.begin_session(&user, 1).expect("begins");
        let token = store.make_token(&user, "l", 1).expect("makes");
        drop(store);
        let bytes = std::fs::read(folder.path().join("console.redb")).expect("reads");
        for secret in [session.expose(), token.expose(), "0123456789"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
}
