//! Claiming the machine, logging in and out, tokens.

use super::{Answer, App, Json};
use crate::auth::{Login, Proof, set_cookie};
use crate::claim::Try;
use crate::error::ApiError;
use crate::listen::Remote;
use crate::password::{self, Kept};
use crate::state::{App as Inner, Shared, new_code, unix_ms};
use crate::store::{FIRST_ROLE, User, already_claimed, random};
use crate::{machine, store::Secret};
use aios_abi::CallError;
use aios_abi::who::Person;
use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// Bytes that a token's label has at most.
const LONGEST_LABEL: usize = 100;

/// Whose request it is; nobody's if it came by a socket of the machine itself.
type Sender = Option<Extension<Remote>>;

/// Who is logged in where.
#[derive(Serialize)]
pub(super) struct Session {
    claimed: bool,
    user: Option<Person>,
    hostname: String,
    version: String,
    fingerprint: String,
}

impl Session {
    fn of(app: &Inner, user: Option<Person>) -> Self {
        Self {
            claimed: app.gate().is_none(),
            user,
            hostname: machine::hostname(),
            version: app.version.clone(),
            fingerprint: app.identity.fingerprint(),
        }
    }
}

pub(super) async fn session(State(app): App, headers: HeaderMap) -> Answer<axum::Json<Session>> {
    let user = Login::find(&app, &headers)?.map(|login| login.person);
    Ok(axum::Json(Session::of(&app, user)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    code: String,
    name: String,
    password: String,
}

pub(super) async fn claim(State(app): App, Json(claim): Json<Claim>) -> Answer<Response> {
    if app.gate().is_none() {
        return Err(already_claimed().into());
    }
    password::check_name(&claim.name)?;
    password::check_password(&claim.password)?;
    // Before the hash: without the code nobody can keep the processor busy.
    try_code(&app, &claim.code)?;
    let salt = random()?;
    let text = claim.password;
    let password = app.hash(move || Kept::new(&text, salt)).await??;
    let person = Person { name: claim.name, role: FIRST_ROLE };
    let user = User { person, password, disabled: false, password_due: false, revision: 0 };
    let claimer = user.clone();
    app.with_store(move |store| store.claim(&claimer)).await?;
    *app.gate() = None;
    app.show(app.claim_line());
    tracing::info!("the machine was claimed by {}", user.person.name);
    begin(&app, user).await
}

fn try_code(app: &Inner, typed: &str) -> Result<(), ApiError> {
    let next = new_code()?;
    let tried = match app.gate().as_mut() {
        Some(gate) => gate.attempt(typed, || next),
        None => return Err(already_claimed().into()),
    };
    let message = match tried {
        Try::Right => return Ok(()),
        Try::Wrong { left } => format!(
            "this is not the claim code that the machine shows on its own screen ({left} tries are left)"
        ),
        Try::Renewed(_) => {
            tracing::warn!("the claim code was missed too often; a new one is on the machine's screen");
            app.show(app.claim_line());
            "the claim code was missed too often; the machine shows a new one on its screen".into()
        }
    };
    Err(CallError::denied(message).into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    name: String,
    password: String,
}

pub(super) async fn login(State(app): App, from: Sender, Json(sent): Json<Credentials>) -> Answer<Response> {
    let user = own_password(authenticate(&app, from, &sent.name, sent.password).await?)?;
    begin(&app, user).await
}

/// Whoever has been given a password has to choose one before anything else.
fn own_password(user: User) -> Result<User, ApiError> {
    match user.password_due {
        true => Err(ApiError::password_due()),
        false => Ok(user),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    name: String,
    password: String,
    new: String,
}

/// A person chooses a password. All their logins end, but the token that asks; a browser gets a new session.
pub(super) async fn password(
    State(app): App,
    from: Sender,
    headers: HeaderMap,
    Json(sent): Json<NewPassword>,
) -> Answer<Response> {
    password::check_password(&sent.new)?;
    if sent.new == sent.password {
        return Err(CallError::invalid("the new password is the present one; choose another").into());
    }
    let user = authenticate(&app, from, &sent.name, sent.password).await?;
    let (salt, new) = (random()?, sent.new);
    let kept = app.hash(move || Kept::new(&new, salt)).await??;
    // The login that asks, if it is this person's.
    let login = Login::find(&app, &headers)?.filter(|login| login.person.name == user.person.name);
    let token = login.and_then(|login| match login.proof {
        Proof::Token(secret) => Some(secret),
        Proof::Session(_) => None,
    });
    let (name, password, except) = (user.person.name.clone(), kept.clone(), token.clone());
    let person = app.with_store(move |store| store.set_password(&name, password, except.as_ref())).await?;
    app.revoked.send_replace(());
    tracing::info!("{} has changed the password", person.name);
    match token {
        Some(_) => Ok(axum::Json(Session::of(&app, Some(person))).into_response()),
        None => begin(&app, User { person, password: kept, password_due: false, ..user }).await,
    }
}

/// Check a name and a password, and tell the firewall what came of it.
async fn authenticate(app: &Shared, from: Sender, name: &str, password: String) -> Result<User, ApiError> {
    let place = app
        .logins
        .try_acquire()
        .map_err(|_| ApiError::busy("too many logins at once; try again in a moment"))?;
    let checked = check(app, name, password).await;
    drop(place);
    // What failed here says nothing of whoever asked.
    let ours = checked.as_ref().is_err_and(|error| error.status.is_server_error());
    if let Some(Extension(Remote(address))) = from.filter(|_| !ours) {
        app.tell_of_login(address, checked.is_ok());
    }
    checked
}

/// Check a name and a password. What is refused is refused in the same words and in the same time.
async fn check(app: &Shared, name: &str, password: String) -> Result<User, ApiError> {
    let wrong = || ApiError::unauthenticated("the name or the password is not right");
    if password::check_name(name).is_err() || password.len() > 1024 {
        return Err(wrong());
    }
    if let Some(wait) = app.lockout().wait_ms(name, app.now_ms()) {
        let seconds = wait.div_ceil(1000);
        return Err(ApiError::busy(format!(
            "the password of {name} was wrong too often; try again in {seconds} s"
        )));
    }
    let user = app.store.user(name)?.filter(|user| !user.disabled);
    // Counted before the check, taken back after: many guesses at once are as slow as one by one.
    app.lockout().failed(name, user.is_some(), app.now_ms());
    let fits = {
        let user = user.clone();
        app.hash(move || match user {
            Some(user) => user.password.fits(&password),
            None => {
                password::pretend(&password);
                false
            }
        })
        .await?
    };
    match user {
        Some(user) if fits => {
            app.lockout().succeeded(name);
            Ok(user)
        }
        _ => {
            tracing::warn!("a login as {name:?} failed");
            Err(wrong())
        }
    }
}

async fn begin(app: &Shared, user: User) -> Answer<Response> {
    let person = user.person.clone();
    let secret: Secret = app.with_store(move |store| store.begin_session(&user, unix_ms())).await?;
    let cookie = [(header::SET_COOKIE, set_cookie(Some(&secret)))];
    Ok((cookie, axum::Json(Session::of(app, Some(person)))).into_response())
}

pub(super) async fn logout(State(app): App, login: Login) -> Answer<Response> {
    app.with_store(move |store| match &login.proof {
        Proof::Session(secret) => store.end_session(secret),
        Proof::Token(secret) => store.end_token(secret),
    })
    .await?;
    app.revoked.send_replace(());
    let cookie = [(header::SET_COOKIE, set_cookie(None))];
    Ok((cookie, axum::Json(Session::of(&app, None))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    name: String,
    password: String,
    label: String,
}

#[derive(Serialize)]
pub(super) struct Token {
    token: String,
}

pub(super) async fn tokens(
    State(app): App,
    from: Sender,
    Json(sent): Json<TokenRequest>,
) -> Answer<axum::Json<Token>> {
    let label = sent.label;
    if label.is_empty() || label.len() > LONGEST_LABEL || label.chars().any(char::is_control) {
        return Err(CallError::invalid(format!(
            "the label must have 1 to {LONGEST_LABEL} bytes and no control characters"
        ))
        .into());
    }
    let user = own_password(authenticate(&app, from, &sent.name, sent.password).await?)?;
    let secret = app.with_store(move |store| store.make_token(&user, &label, unix_ms())).await?;
    app.revoked.send_replace(());
    Ok(axum::Json(Token { token: secret.expose().to_owned() }))
}
