//! What may be done to accounts, and by whom. Pure: the store keeps what is decided here.

use crate::password::{Kept, check_name};
use crate::store::User;
use aios_abi::accounts::AccountChange;
use aios_abi::who::{Person, Role};
use aios_abi::{CallError, ErrorCode};

/// What a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The account now, if there is one.
    pub now: Option<&'a User>,
    /// How many administrators can log in besides it.
    pub other_admins: usize,
    /// How many accounts there are.
    pub accounts: usize,
    /// The role of whoever asks.
    pub by: Role,
}

/// A change that was made, and what it takes to take it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The account before.
    pub before: Option<User>,
    /// The account after.
    pub after: Option<User>,
}

/// The account whose name this is.
pub fn name_of(change: &AccountChange) -> Option<&str> {
    match change {
        AccountChange::Create { name, .. }
        | AccountChange::Remove { name }
        | AccountChange::Modify { name, .. } => Some(name),
        AccountChange::Certificate { .. } => None,
    }
}

/// Whether a password has to be made for this change.
pub fn needs_password(change: &AccountChange) -> bool {
    matches!(change, AccountChange::Create { .. } | AccountChange::Modify { new_password: true, .. })
}

/// The account after a change: none where it is removed. `password` is what was made for it, if it needs one; `revision` is a
/// number that no state of an account had before.
pub fn decide(
    facts: &Facts<'_>,
    change: &AccountChange,
    password: Option<&Kept>,
    revision: u64,
) -> Result<Option<User>, CallError> {
    let after = match change {
        AccountChange::Create { name, role } => {
            check_name(name)?;
            if facts.now.is_some() {
                return Err(CallError::new(ErrorCode::Conflict, format!("{name} has an account already")));
            }
            if facts.accounts == 0 {
                let text = "nobody has claimed this machine yet; claim it first, then make further accounts";
                return Err(CallError::new(ErrorCode::Conflict, text));
            }
            if facts.accounts >= aios_abi::accounts::MAX_ACCOUNTS {
                let text =
                    format!("there are {} accounts, more are not kept; remove one first", facts.accounts);
                return Err(CallError::new(ErrorCode::Busy, text));
            }
            let person = Person { name: name.clone(), role: *role };
            // Without a password it is only asked whether it could be made.
            Some(User {
                person,
                password: password.cloned().unwrap_or_default(),
                disabled: false,
                password_due: true,
                revision,
            })
        }
        AccountChange::Remove { name } => {
            present(facts.now, name)?;
            None
        }
        AccountChange::Modify { name, role, disabled, new_password } => {
            let now = present(facts.now, name)?;
            let mut after = now.clone();
            after.person.role = role.unwrap_or(now.person.role);
            after.disabled = disabled.unwrap_or(now.disabled);
            if *new_password {
                after.password = password.cloned().unwrap_or_default();
                after.password_due = true;
            } else if after == *now {
                return Err(CallError::invalid(format!(
                    "{name} is so already; give another `role`, `disabled` or `new_password`"
                )));
            }
            after.revision = revision;
            Some(after)
        }
        AccountChange::Certificate { .. } => {
            return Err(CallError::failed("a certificate is no account"));
        }
    };
    allowed(facts, after.as_ref())?;
    Ok(after)
}

/// The account after a change to it was taken back.
pub fn take_back(facts: &Facts<'_>, made: &Made) -> Result<Option<User>, CallError> {
    let name = made.before.as_ref().or(made.after.as_ref()).map_or("", |user| &user.person.name);
    let changed = |what: &str| {
        let text = format!(
            "the account of {name} was {what} since; undoing would destroy that, so nothing was done"
        );
        Err(CallError::new(ErrorCode::Conflict, text))
    };
    let back = match (facts.now, &made.before, &made.after) {
        (Some(now), Some(before), _) if now.revision == before.revision => return Ok(Some(now.clone())),
        (None, None, _) => return Ok(None),
        (None, Some(before), None) => Some(before.clone()),
        (Some(now), before, Some(after)) if now.revision == after.revision => match before {
            None => None,
            Some(before) => {
                let mut back =
                    User { person: before.person.clone(), disabled: before.disabled, ..now.clone() };
                let password = |user: &User| (user.password.clone(), user.password_due);
                if password(before) != password(after) {
                    if password(now) != password(after) {
                        return changed("given a password of the person's own");
                    }
                    back.password = before.password.clone();
                    back.password_due = before.password_due;
                }
                back.revision = before.revision;
                Some(back)
            }
        },
        (None, _, Some(_)) => return changed("removed"),
        (Some(_), _, None) => return changed("made anew"),
        (Some(_), _, Some(_)) => return changed("changed"),
    };
    allowed(facts, back.as_ref())?;
    Ok(back)
}

/// Whether the logins of a person must end with this change.
pub fn ends_logins(before: Option<&User>, after: Option<&User>) -> bool {
    match (before, after) {
        (_, None) => true,
        (Some(before), Some(after)) => after.disabled || after.password != before.password,
        (None, Some(_)) => false,
    }
}

/// There is no account of this name.
pub fn missing(name: &str) -> CallError {
    CallError::not_found(format!("{name} has no account; users.list shows all"))
}

/// Nobody touches what is above them.
pub fn within(by: Role, user: &User) -> Result<(), CallError> {
    let Person { name, role } = &user.person;
    if *role <= by {
        return Ok(());
    }
    let (role, by) = (role.as_str(), by.as_str());
    Err(CallError::denied(format!("{name} as {role} is above the role {by} of whoever asks")))
}

fn present<'a>(now: Option<&'a User>, name: &str) -> Result<&'a User, CallError> {
    now.ok_or_else(|| missing(name))
}

/// Nobody touches what is above them, and somebody can always set things right.
fn allowed(facts: &Facts<'_>, after: Option<&User>) -> Result<(), CallError> {
    facts.now.into_iter().chain(after).try_for_each(|user| within(facts.by, user))?;
    let was = facts.now.is_some_and(User::is_active_admin);
    if was && facts.other_admins == 0 && !after.is_some_and(User::is_active_admin) {
        let name = facts.now.map_or("", |user| &user.person.name);
        return Err(CallError::denied(format!(
            "{name} is the only administrator who can log in; make another one first (users.grant)"
        )));
    }
    Ok(())
}
