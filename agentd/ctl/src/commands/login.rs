//! Which machine, which certificate, which person.

use crate::api::{self, Api, PATIENCE};
use crate::cli;
use crate::config::{Config, Context};
use crate::error::{Failure, Outcome};
use crate::family;
use crate::output::{Output, clean_line};
use crate::pin::Fingerprint;
use crate::prompt;
use reqwest::Url;
use serde_json::{Value, json};

pub(super) async fn login(login: cli::Login, name: Option<&str>, output: &Output) -> Outcome {
    let door = Door::find(&login.machine, name).await?;
    if !door.is_claimed().await? {
        let url = api::origin(&door.url);
        return Err(Failure::denied(format!(
            "{url} is a new machine that nobody has claimed, so there is nobody to log in as: make it yours with \
             `aiosctl claim {url}` and the claim code that it shows when it starts"
        )));
    }
    let user = match login.user {
        Some(user) => user,
        None => prompt::line("Login name", "the login name is missing: give --user NAME")?,
    };
    let password = prompt::password(login.machine.password_stdin, false)?;
    door.enter(&user, &password, output).await
}

pub(super) async fn password(given: cli::Password, wanted: Option<&str>, output: &Output) -> Outcome {
    let cli::Password { url, fingerprint, user, password_stdin } = given;
    let Some(url) = url else {
        let config = Config::load()?;
        let (name, context) = config.context(wanted)?;
        let (present, new) = prompt::change(password_stdin)?;
        let body = json!({ "name": context.user, "password": present, "new": new });
        Api::of(context)?.post(&["password"], &body, PATIENCE).await?;
        return match output.is_json() {
            true => output.json(&json!({ "context": name, "name": context.user })),
            false => output.line(format!(
                "{} has a new password on {}; all other logins of this person have ended",
                clean_line(&context.user),
                clean_line(name)
            )),
        };
    };
    let machine = cli::Machine { url, fingerprint, password_stdin };
    let door = Door::find(&machine, wanted).await?;
    let user = match user {
        Some(user) => user,
        None => prompt::line("Login name", "the login name is missing: give --user NAME")?,
    };
    let (present, new) = prompt::change(password_stdin)?;
    let body = json!({ "name": user, "password": present, "new": new });
    // The console's session that comes with the answer stays unused; a token outlives it.
    door.api()?.post(&["password"], &body, PATIENCE).await?;
    door.enter(&user, &new, output).await
}

pub(super) async fn claim(claim: cli::Claim, name: Option<&str>, output: &Output) -> Outcome {
    let door = Door::find(&claim.machine, name).await?;
    if door.is_claimed().await? {
        let url = api::origin(&door.url);
        return Err(Failure::api(
            "conflict",
            format!(
                "{url} is claimed already: log in with `aiosctl login {url}`, with a name and password of its own"
            ),
        ));
    }
    let ask = |given: Option<String>, question: &str, missing: &str| {
        given.map_or_else(|| prompt::line(question, missing), Ok)
    };
    let code = ask(
        claim.code,
        "The claim code that the machine shows when it starts",
        "the claim code is missing: give --code XXXX-XXXX-XXXX as the machine shows it when it starts",
    )?;
    let user = ask(
        claim.user,
        "Login name that its administrator shall have",
        "the login name that the administrator shall have is missing: give --user NAME",
    )?;
    let password = prompt::password(claim.machine.password_stdin, true)?;
    let body = json!({ "code": code, "name": user, "password": password });
    // The console's session that comes with the answer stays unused; a token outlives it.
    door.api()?.post(&["claim"], &body, PATIENCE).await?;
    door.enter(&user, &password, output).await
}

pub(super) async fn logout(wanted: Option<&str>, output: &Output) -> Outcome {
    let mut config = Config::load()?;
    let (name, context) = config.context(wanted)?;
    let name = name.to_owned();
    let told = Api::of(context)?.post(&["logout"], &json!({}), PATIENCE).await;
    config.contexts.remove(&name);
    if config.current.as_deref() == Some(&name) {
        config.current = None;
    }
    config.save()?;
    // A machine that is gone for good must not keep its entry; but the token lives on if it was not told.
    told.map_err(|failure| Failure {
        message: format!("{name} is forgotten here, but its token was not given back: {}", failure.message),
        ..failure
    })?;
    match output.is_json() {
        true => output.json(&json!({ "context": name })),
        false => output.line(format!("logged out of {}", clean_line(&name))),
    }
}

/// A machine whose certificate the person knows.
struct Door {
    url: Url,
    fingerprint: Fingerprint,
    name: String,
}

impl Door {
    async fn find(machine: &cli::Machine, name: Option<&str>) -> Outcome<Self> {
        let url = api::address(&machine.url)?;
        let name = name.map_or_else(|| api::host(&url), str::to_owned);
        let fingerprint = match &machine.fingerprint {
            Some(text) => Fingerprint::parse(text)?,
            None => match known(&Config::load()?, &name, &url) {
                Some(fingerprint) => fingerprint,
                None => seen(&url).await?,
            },
        };
        Ok(Self { url, fingerprint, name })
    }

    fn api(&self) -> Outcome<Api> {
        Api::new(self.url.clone(), Some(self.fingerprint), None)
    }

    /// Whether the machine belongs to somebody.
    async fn is_claimed(&self) -> Outcome<bool> {
        Ok(self.api()?.get(&["session"]).await?["claimed"] != json!(false))
    }

    /// Take a token and remember it.
    async fn enter(self, user: &str, password: &str, output: &Output) -> Outcome {
        let body = json!({ "name": user, "password": password, "label": label() });
        let answer = self.api()?.post(&["tokens"], &body, PATIENCE).await?;
        let token = answer["token"]
            .as_str()
            .ok_or_else(|| Failure::failed("the machine gave no token; is it of another version?"))?;
        let context = Context {
            url: api::origin(&self.url),
            fingerprint: self.fingerprint,
            user: user.to_owned(),
            token: token.to_owned(),
        };
        let api = Api::of(&context)?;
        let session = api.get(&["session"]).await?;
        let mut config = Config::load()?;
        config.contexts.insert(self.name.clone(), context);
        config.current = Some(self.name.clone());
        config.save()?;
        // For the command line; a machine whose broker is silent is logged into all the same.
        if let Ok(list) = api.get(&["tools"]).await {
            let _ = family::keep(&self.name, &list);
        }
        if output.is_json() {
            return output.json(&json!({ "context": self.name, "session": session }));
        }
        let text = |value: &Value| clean_line(value.as_str().unwrap_or("?"));
        output.line(format!(
            "logged in to {} (aiOS {}) as {user} ({}); remembered as {}",
            text(&session["hostname"]),
            text(&session["version"]),
            text(&session["user"]["role"]),
            clean_line(&self.name)
        ))
    }
}

/// The certificate that is remembered of this very address.
fn known(config: &Config, name: &str, url: &Url) -> Option<Fingerprint> {
    let context = config.contexts.get(name)?;
    (context.url == api::origin(url)).then_some(context.fingerprint)
}

/// Show the certificate and let the person compare it. Without a person nothing is trusted.
async fn seen(url: &Url) -> Outcome<Fingerprint> {
    let missing = "the machine's certificate is not known here: give --fingerprint with the digits of the certificate \
                   line that the machine shows when it starts";
    if !prompt::somebody_is_there() {
        return Err(Failure::usage(missing));
    }
    let fingerprint = Api::certificate(url.clone()).await?;
    eprintln!("{} shows this certificate:\n\n  SHA-256 {fingerprint}\n", api::origin(url));
    eprintln!("Compare it with the certificate line that the machine shows when it starts.");
    match prompt::yes("Is it the same?", missing)? {
        true => Ok(fingerprint),
        false => Err(Failure::denied(
            "not logged in: when the certificates differ, somebody else answers at this address",
        )),
    }
}

/// How the token is called in the machine's list of tokens: after the computer that holds it.
fn label() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
    if host.is_empty() { "aiosctl".to_owned() } else { format!("aiosctl on {host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_only_known_for_the_address_it_was_seen_at() {
        let url = |text| api::address(text).expect("address");
        let fingerprint = Fingerprint::parse(&"0a".repeat(32)).expect("fingerprint");
        let context =
            Context { url: "https://box".into(), fingerprint, user: "admin".into(), token: "t".into() };
        let config = Config { current: None, contexts: [("box".to_owned(), context)].into() };
        assert_eq!(known(&config, "box", &url("box")), Some(fingerprint));
        assert_eq!(known(&config, "box", &url("box:8443")), None);
        assert_eq!(known(&config, "other", &url("box")), None);
    }

    #[test]
    fn the_label_is_one_that_the_console_takes() {
        assert!(label().len() <= 100 && label().starts_with("aiosctl"));
    }
}
