//! Changes of accounts and of the certificate, and taking them back.
//!
//! What it takes to take a change back is kept in the same transaction as the change, under a number, with the account as it
//! was: a power cut leaves both or neither, and no hash ever leaves this file.

use super::{
    SESSIONS, SINGLE, Secret, Session, Store, TOKENS, Token, USERS, User, decode, encode, failed, live,
};
use crate::password::Kept;
use crate::people::{self, Facts, Made};
use aios_abi::accounts::{Account, AccountChange};
use aios_abi::who::{Person, Role};
use aios_abi::{CallError, ErrorCode};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What was changed, by the number that it is taken back with.
pub(super) const CHANGES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("changes");
/// The certificate and its key in [`SINGLE`], once that of the first boot was replaced.
const IDENTITY: &str = "identity";
/// Changes that can be taken back; the oldest makes room.
const MAX_CHANGES: u64 = 1000;

/// A certificate and its key, both PEM (RFC 7468).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pem {
    /// The certificate.
    pub certificate: String,
    /// Its key (PKCS #8).
    pub key: String,
}

/// A key is a secret.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(…)")
    }
}

/// What was done under a number.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    /// Counts up; the oldest has the least.
    order: u64,
    what: What,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum What {
    Account {
        before: Option<User>,
        after: Option<User>,
    },
    /// None is the certificate of the first boot, which has files of its own.
    Identity {
        before: Option<Pem>,
        after: Pem,
    },
}

/// What is so after a change was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// It had not been made.
    Nothing,
    /// This account is as it was; none where there was none.
    Account(String, Option<Person>),
    /// This certificate counts again; none is that of the first boot.
    Identity(Option<Pem>),
}

impl Store {
    /// All accounts by name, with their logins.
    pub fn accounts(&self, now_ms: u64) -> Result<Vec<Account>, CallError> {
        let read = self.database.begin_read().map_err(failed)?;
        let mut logins: HashMap<String, (u32, u32)> = HashMap::new();
        for entry in read.open_table(SESSIONS).map_err(failed)?.iter().map_err(failed)? {
            if let Some(session) = decode::<Session>(entry.map_err(failed)?.1.value()) {
                logins.entry(session.name).or_default().0 += u32::from(live(session.expires_ms, now_ms));
            }
        }
        for entry in read.open_table(TOKENS).map_err(failed)?.iter().map_err(failed)? {
            if let Some(token) = decode::<Token>(entry.map_err(failed)?.1.value()) {
                logins.entry(token.name).or_default().1 += 1;
            }
        }
        let users = users(&read.open_table(USERS).map_err(failed)?)?;
        let account = |user: User| {
            let Person { name, role } = user.person;
            let (sessions, tokens) = logins.get(&name).copied().unwrap_or_default();
            let User { disabled, password_due, .. } = user;
            Account { name, role, disabled, password_due, sessions, tokens }
        };
        Ok(users.into_iter().map(account).collect())
    }

    /// Whether this could be done by whoever has this role.
    pub fn check(&self, by: Role, change: &AccountChange) -> Result<(), CallError> {
        let Some(name) = people::name_of(change) else { return Ok(()) };
        let read = self.database.begin_read().map_err(failed)?;
        let users = users(&read.open_table(USERS).map_err(failed)?)?;
        people::decide(&facts(&users, name, by), change, None, 0).map(drop)
    }

    /// Change an account. `password` is what was made for it, if it needs one. Logins that must end have ended when this
    /// returns. Errors: `Conflict` where the number was used, and what [`people::decide`] refuses.
    pub fn change(
        &self,
        by: Role,
        number: u64,
        change: &AccountChange,
        password: Option<&Kept>,
    ) -> Result<(), CallError> {
        let name = people::name_of(change).unwrap_or_default();
        let write = self.database.begin_write().map_err(failed)?;
        {
            let users = users(&write.open_table(USERS).map_err(failed)?)?;
            let facts = facts(&users, name, by);
            // The number of the change is that of the state that it makes: no other has it.
            let after = people::decide(&facts, change, password, number)?;
            let before = facts.now.cloned();
            keep(&write, number, What::Account { before: before.clone(), after: after.clone() })?;
            put(&write, name, before.as_ref(), after.as_ref())?;
        }
        write.commit().map_err(failed)
    }

    /// From now on this certificate counts.
    pub fn set_identity(&self, number: u64, after: &Pem) -> Result<(), CallError> {
        let before = self.identity()?;
        let write = self.database.begin_write().map_err(failed)?;
        keep(&write, number, What::Identity { before, after: after.clone() })?;
        {
            let mut single = write.open_table(SINGLE).map_err(failed)?;
            single.insert(IDENTITY, encode(after)?.as_slice()).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    /// The certificate that counts, if it is not that of the first boot.
    pub fn identity(&self) -> Result<Option<Pem>, CallError> {
        self.read(SINGLE, IDENTITY)
    }

    /// Take back what was done under this number.
    pub fn take_back(&self, by: Role, number: u64) -> Result<Back, CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        let (found, all) = {
            let changes = write.open_table(CHANGES).map_err(failed)?;
            let found = changes.get(number).map_err(failed)?.map(|bytes| decode::<Done>(bytes.value()));
            (found, changes.len().map_err(failed)?)
        };
        let Some(found) = found else {
            if all < MAX_CHANGES {
                return Ok(Back::Nothing);
            }
            return Err(CallError::not_found(
                "what this change did is not kept any more, it made room for newer ones; nothing was undone",
            ));
        };
        let done = found.ok_or_else(|| CallError::failed("a record of the account file cannot be read"))?;
        let back = match done.what {
            What::Account { before, after } => {
                let made = Made { before, after };
                let name = made.before.as_ref().or(made.after.as_ref()).map(|user| user.person.name.clone());
                let name = name.unwrap_or_default();
                let users = users(&write.open_table(USERS).map_err(failed)?)?;
                let facts = facts(&users, &name, by);
                let back = people::take_back(&facts, &made)?;
                put(&write, &name, facts.now, back.as_ref())?;
                Back::Account(name, back.map(|user| user.person))
            }
            What::Identity { before, after } => {
                let mut single = write.open_table(SINGLE).map_err(failed)?;
                let now: Option<Pem> =
                    single.get(IDENTITY).map_err(failed)?.and_then(|bytes| decode(bytes.value()));
                if now != before && now != Some(after) {
                    let text = "the certificate was replaced again since; take that back first";
                    return Err(CallError::new(ErrorCode::Conflict, text));
                }
                match &before {
                    Some(pem) => {
                        single.insert(IDENTITY, encode(pem)?.as_slice()).map_err(failed)?;
                    }
                    None => {
                        single.remove(IDENTITY).map_err(failed)?;
                    }
                }
                Back::Identity(before)
            }
        };
        write.commit().map_err(failed)?;
        Ok(back)
    }

    /// Give somebody the password that they chose. All their logins end but the one that is excepted.
    pub fn set_password(
        &self,
        name: &str,
        password: Kept,
        except: Option<&Secret>,
    ) -> Result<Person, CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        let person = {
            let mut table = write.open_table(USERS).map_err(failed)?;
            let user = table.get(name).map_err(failed)?.and_then(|bytes| decode::<User>(bytes.value()));
            let user = user.filter(|user| !user.disabled);
            let user = user.ok_or_else(|| CallError::denied(format!("{name} may not log in any more")))?;
            let user = User { password, password_due: false, ..user };
            table.insert(name, encode(&user)?.as_slice()).map_err(failed)?;
            user.person
        };
        end_logins(&write, Some(name), except)?;
        write.commit().map_err(failed)?;
        Ok(person)
    }

    /// End all sessions and tokens of this person, or of everybody; how many of each there were.
    pub fn end_logins(&self, by: Role, name: Option<&str>) -> Result<(u32, u32), CallError> {
        let write = self.database.begin_write().map_err(failed)?;
        let users = users(&write.open_table(USERS).map_err(failed)?)?;
        let meant = |user: &&User| name.is_none_or(|name| name == user.person.name);
        if name.is_some() && !users.iter().any(|user| meant(&user)) {
            return Err(people::missing(name.unwrap_or_default()));
        }
        users.iter().filter(meant).try_for_each(|user| people::within(by, user))?;
        let ended = end_logins(&write, name, None)?;
        write.commit().map_err(failed)?;
        Ok(ended)
    }
}

/// All accounts, by name.
fn users(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Vec<User>, CallError> {
    let mut users = Vec::new();
    for entry in table.iter().map_err(failed)? {
        let user = decode(entry.map_err(failed)?.1.value());
        users.push(user.ok_or_else(|| CallError::failed("an account of the account file cannot be read"))?);
    }
    Ok(users)
}

fn facts<'a>(users: &'a [User], name: &str, by: Role) -> Facts<'a> {
    let (now, others): (Vec<_>, Vec<_>) = users.iter().partition(|user| user.person.name == name);
    let other_admins = others.iter().filter(|user| user.is_active_admin()).count();
    Facts { now: now.first().copied(), other_admins, accounts: users.len(), by }
}

/// Put an account in the place of another, and end the logins that must not outlive that.
fn put(
    write: &WriteTransaction,
    name: &str,
    before: Option<&User>,
    after: Option<&User>,
) -> Result<(), CallError> {
    let mut users = write.open_table(USERS).map_err(failed)?;
    match after {
        Some(after) => drop(users.insert(name, encode(after)?.as_slice()).map_err(failed)?),
        None => drop(users.remove(name).map_err(failed)?),
    }
    if people::ends_logins(before, after) {
        end_logins(write, Some(name), None)?;
    }
    Ok(())
}

/// Keep what it takes to take a change back.
fn keep(write: &WriteTransaction, number: u64, what: What) -> Result<(), CallError> {
    let mut changes = write.open_table(CHANGES).map_err(failed)?;
    if changes.get(number).map_err(failed)?.is_some() {
        return Err(CallError::new(ErrorCode::Conflict, "this change was made already"));
    }
    let mut orders = Vec::new();
    for entry in changes.iter().map_err(failed)? {
        let (number, bytes) = entry.map_err(failed)?;
        orders.push((decode::<Done>(bytes.value()).map_or(0, |done| done.order), number.value()));
    }
    orders.sort_unstable();
    let order = orders.last().map_or(1, |(order, _)| order.saturating_add(1));
    let most = usize::try_from(MAX_CHANGES).unwrap_or(usize::MAX);
    for (_, oldest) in orders.iter().take((orders.len() + 1).saturating_sub(most)) {
        changes.remove(oldest).map_err(failed)?;
    }
    changes.insert(number, encode(&Done { order, what })?.as_slice()).map_err(failed)?;
    Ok(())
}

/// Remove sessions and tokens; how many of each.
fn end_logins(
    write: &WriteTransaction,
    name: Option<&str>,
    except: Option<&Secret>,
) -> Result<(u32, u32), CallError> {
    let except = except.map(Secret::key);
    let goes = |key: &str, of: Option<String>| {
        let theirs = name.is_none_or(|name| of.as_deref() == Some(name));
        theirs && except.as_deref() != Some(key)
    };
    let (mut sessions, mut tokens) = (0, 0);
    let mut table = write.open_table(SESSIONS).map_err(failed)?;
    let stays = |key: &str, bytes: &[u8]| {
        let gone = goes(key, decode::<Session>(bytes).map(|session| session.name));
        sessions += u32::from(gone);
        !gone
    };
    table.retain(stays).map_err(failed)?;
    let mut table = write.open_table(TOKENS).map_err(failed)?;
    let stays = |key: &str, bytes: &[u8]| {
        let gone = goes(key, decode::<Token>(bytes).map(|token| token.name));
        tokens += u32::from(gone);
        !gone
    };
    table.retain(stays).map_err(failed)?;
    Ok((sessions, tokens))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    /// Hashes take long; three passwords are enough to tell them apart.
    static HASHES: LazyLock<Vec<Kept>> = LazyLock::new(|| {
        (0..3).map(|n| Kept::new(&format!("0123456789-{n}"), [n; 16]).expect("hashes")).collect()
    });
    const NAMES: [&str; 3] = ["ada", "bob", "cleo"];

    fn user(name: &str, role: Role, password: &Kept) -> User {
        let person = Person { name: name.into(), role };
        User { person, password: password.clone(), disabled: false, password_due: false, revision: 0 }
    }

    /// A machine that ada has claimed.
    fn claimed() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("folder");
        let store = Store::open(&folder.path().join("console.redb")).expect("opens");
        store.claim(&user("ada", Role::Admin, &HASHES[0])).expect("claims");
        (folder, store)
    }

    fn all(store: &Store) -> BTreeMap<String, User> {
        let users = NAMES.iter().filter_map(|name| store.user(name).expect("reads"));
        users.map(|user| (user.person.name.clone(), user)).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Change(Role, AccountChange, usize),
        /// Somebody chooses a password.
        Password(usize, usize),
    }

    fn role() -> impl Strategy<Value = Role> {
        proptest::sample::select(&[Role::Viewer, Role::Operator, Role::Approver, Role::Admin][..])
    }

    fn step() -> impl Strategy<Value = Step> {
        let name = || proptest::sample::select(&NAMES[..]).prop_map(str::to_owned);
        let create = (name(), role()).prop_map(|(name, role)| AccountChange::Create { name, role });
        let remove = name().prop_map(|name| AccountChange::Remove { name });
        let modify =
            (name(), proptest::option::of(role()), proptest::option::of(any::<bool>()), any::<bool>());
        let modify = modify.prop_map(|(name, role, disabled, new_password)| AccountChange::Modify {
            name,
            role,
            disabled,
            new_password,
        });
        let by = prop_oneof![4 => Just(Role::Admin), 1 => role()];
        let change = prop_oneof![3 => create, 1 => remove, 4 => modify];
        prop_oneof![
            9 => (by, change, 0..3_usize).prop_map(|(by, change, hash)| Step::Change(by, change, hash)),
            1 => (0..NAMES.len(), 0..3_usize).prop_map(|(who, hash)| Step::Password(who, hash)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_done_somebody_can_log_in_and_it_is_taken_back_in_turn(
            steps in proptest::collection::vec(step(), 1..12),
        ) {
            let (folder, store) = claimed();
            let mut done = Vec::new();
            for (number, step) in (1..).zip(&steps) {
                let before = all(&store);
                match step {
                    Step::Change(by, change, hash) => {
                        let fits = store.check(*by, change);
                        let made = store.change(*by, number, change, Some(&HASHES[*hash]));
                        prop_assert_eq!(fits.is_ok(), made.is_ok(), "{:?}", change);
                        let after = all(&store);
                        match made {
                            Ok(()) => done.push((number, before.clone())),
                            Err(_) => prop_assert_eq!(&after, &before),
                        }
                        // Nobody above whoever asks was touched or made.
                        for name in NAMES.iter().filter(|name| before.get(**name) != after.get(**name)) {
                            for user in before.get(*name).into_iter().chain(after.get(*name)) {
                                prop_assert!(user.person.role <= *by);
                            }
                        }
                    }
                    Step::Password(who, hash) => {
                        let _ = store.set_password(NAMES[*who], HASHES[*hash].clone(), None);
                    }
                }
                prop_assert!(all(&store).values().any(User::is_active_admin));
            }
            // As after a restart.
            drop(store);
            let store = Store::open(&folder.path().join("console.redb")).expect("opens");
            for (number, before) in done.into_iter().rev() {
                let now = all(&store);
                match store.take_back(Role::Admin, number) {
                    Ok(_) => {
                        let back = all(&store);
                        // A password that somebody chose since stays theirs; everything else is as it was.
                        let seen = |users: &BTreeMap<String, User>| -> Vec<_> {
                            users.values().map(|u| (u.person.clone(), u.disabled, u.revision)).collect()
                        };
                        prop_assert_eq!(seen(&back), seen(&before));
                        if !steps.iter().any(|step| matches!(step, Step::Password(..))) {
                            prop_assert_eq!(&back, &before);
                        }
                    }
                    Err(error) => {
                        prop_assert_eq!(error.code, ErrorCode::Conflict);
                        prop_assert!(steps.iter().any(|step| matches!(step, Step::Password(..))));
                        prop_assert_eq!(all(&store), now);
                        return Ok(());
                    }
                }
                prop_assert_eq!(store.take_back(Role::Admin, number).is_ok(), true, "twice");
            }
        }
    }

    fn create(name: &str, role: Role) -> AccountChange {
        AccountChange::Create { name: name.into(), role }
    }

    fn modify(name: &str, role: Option<Role>, disabled: Option<bool>) -> AccountChange {
        AccountChange::Modify { name: name.into(), role, disabled, new_password: false }
    }

    #[test]
    fn the_last_administrator_stays_one() {
        let (_folder, store) = claimed();
        let remove = AccountChange::Remove { name: "ada".into() };
        for change in [&remove, &modify("ada", None, Some(true)), &modify("ada", Some(Role::Approver), None)]
        {
            let error = store.change(Role::Admin, 1, change, None).expect_err("refused");
            assert_eq!(error.code, ErrorCode::Denied, "{change:?}");
        }
        store.change(Role::Admin, 2, &create("bob", Role::Admin), Some(&HASHES[1])).expect("makes");
        store.change(Role::Admin, 3, &remove, None).expect("bob is another one");
        let error = store.take_back(Role::Admin, 2).expect_err("bob is the only one now");
        assert_eq!(error.code, ErrorCode::Denied);
        let again = store.change(Role::Admin, 3, &modify("bob", Some(Role::Viewer), None), None);
        assert_eq!(again.expect_err("the number was used").code, ErrorCode::Denied);
    }

    #[test]
    fn nobody_makes_anything_above_themself() {
        let (_folder, store) = claimed();
        let by = Role::Operator;
        for change in
            [&create("bob", Role::Approver), &modify("ada", Some(Role::Viewer), None), &create("Bob", by)]
        {
            assert!(store.change(by, 1, change, Some(&HASHES[1])).is_err(), "{change:?}");
        }
        store.change(by, 2, &create("bob", by), Some(&HASHES[1])).expect("as high as themself");
        assert!(store.change(by, 3, &modify("bob", Some(Role::Admin), None), None).is_err());
        store
            .change(Role::Admin, 4, &modify("bob", Some(Role::Admin), None), None)
            .expect("an administrator may");
        let error = store.take_back(by, 4).expect_err("bob is above an operator now");
        assert_eq!(error.code, ErrorCode::Denied);
        assert!(store.end_logins(by, None).is_err() && store.end_logins(by, Some("ada")).is_err());
    }

    #[test]
    fn whoever_is_disabled_removed_or_given_a_password_is_logged_out_at_once_and_stays_so() {
        for change in [
            modify("bob", None, Some(true)),
            AccountChange::Remove { name: "bob".into() },
            AccountChange::Modify { name: "bob".into(), role: None, disabled: None, new_password: true },
        ] {
            let (_folder, store) = claimed();
            store.change(Role::Admin, 1, &create("bob", Role::Viewer), Some(&HASHES[1])).expect("makes");
            let bob = store.user("bob").expect("reads").expect("is there");
            let session = store.begin_session(&bob, 1).expect("begins");
            let token = store.make_token(&bob, "laptop", 1).expect("makes");
            let ada = store.user("ada").expect("reads").expect("is there");
            let other = store.make_token(&ada, "laptop", 1).expect("makes");
            store.change(Role::Admin, 2, &change, Some(&HASHES[2])).expect("changes");
            assert!(store.session(&session, 2).expect("reads").is_none(), "{change:?}");
            assert!(store.token(&token).expect("reads").is_none());
            assert!(store.begin_session(&bob, 2).is_err(), "proved before, begun after");
            store.take_back(Role::Admin, 2).expect("is taken back");
            assert_eq!(store.user("bob").expect("reads"), Some(bob));
            assert!(store.session(&session, 2).expect("reads").is_none());
            assert!(store.token(&token).expect("reads").is_none());
            assert!(store.token(&other).expect("reads").is_some());
        }
    }

    #[test]
    fn a_password_of_ones_own_ends_all_other_logins_and_is_not_undone_by_others() {
        let (_folder, store) = claimed();
        store.change(Role::Admin, 1, &create("bob", Role::Viewer), Some(&HASHES[1])).expect("makes");
        let bob = store.user("bob").expect("reads").expect("is there");
        assert!(bob.password_due);
        let (this, other) = (store.make_token(&bob, "a", 1), store.make_token(&bob, "b", 1));
        let (this, other) = (this.expect("makes"), other.expect("makes"));
        store.set_password("bob", HASHES[2].clone(), Some(&this)).expect("sets");
        assert!(
            store.token(&this).expect("reads").is_some() && store.token(&other).expect("reads").is_none()
        );
        assert!(!store.user("bob").expect("reads").expect("is there").password_due);
        let reset = AccountChange::Modify {
            name: "bob".into(),
            role: Some(Role::Operator),
            disabled: None,
            new_password: true,
        };
        store.change(Role::Admin, 2, &reset, Some(&HASHES[1])).expect("changes");
        store.set_password("bob", HASHES[2].clone(), None).expect("sets");
        assert_eq!(store.take_back(Role::Admin, 2).expect_err("is bob's now").code, ErrorCode::Conflict);
        assert_eq!(store.take_back(Role::Admin, 77), Ok(Back::Nothing));
    }

    #[test]
    fn the_file_of_one_account_is_carried_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("console.redb");
        let old = format!(
            r#"{{"person":{{"name":"ada","role":"admin"}},"password":{}}}"#,
            serde_json::to_string(&HASHES[0]).expect("encodes")
        );
        {
            let database = redb::Database::create(&path).expect("makes");
            let write = database.begin_write().expect("begins");
            write.open_table(USERS).expect("opens").insert("ada", old.as_bytes()).expect("inserts");
            for table in [SESSIONS, TOKENS] {
                write.open_table(table).expect("opens");
            }
            write.commit().expect("commits");
        }
        let store = Store::open(&path).expect("opens");
        assert_eq!(store.user("ada").expect("reads"), Some(user("ada", Role::Admin, &HASHES[0])));
        store.change(Role::Admin, 9, &create("bob", Role::Viewer), Some(&HASHES[1])).expect("makes");
        let names: Vec<_> =
            store.accounts(1).expect("lists").into_iter().map(|account| account.name).collect();
        assert_eq!(names, ["ada", "bob"]);
    }

    #[test]
    fn a_certificate_is_taken_back_to_the_one_before() {
        let (_folder, store) = claimed();
        let pem = |text: &str| Pem { certificate: text.into(), key: "k".into() };
        assert_eq!(store.identity().expect("reads"), None);
        store.set_identity(1, &pem("one")).expect("sets");
        store.set_identity(2, &pem("two")).expect("sets");
        assert_eq!(store.take_back(Role::Admin, 1).expect_err("two counts").code, ErrorCode::Conflict);
        assert_eq!(store.take_back(Role::Admin, 2), Ok(Back::Identity(Some(pem("one")))));
        assert_eq!(store.take_back(Role::Admin, 1), Ok(Back::Identity(None)));
        assert_eq!(store.identity().expect("reads"), None);
    }
}
