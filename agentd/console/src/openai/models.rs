//! Which models there are: by the name of their tier, or by their own.

use super::error::Error;
use super::fields::Fields;
use super::{Body, Caller};
use crate::api::{App, Path};
use crate::state::unexpected;
use aios_abi::infer::{EngineState, InferReply, InferRequest, InferStatus, Tier};
use axum::Json;
use serde_json::{Value, json};

/// The cheapest tier of this machine that is ready.
const DEFAULT: &str = "default";
/// The model that makes vectors.
const EMBED: &str = "embed";

/// A tier that writes, and the name under which its answers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) tier: Tier,
    pub(super) name: String,
}

/// How the engines are.
pub(super) async fn status(app: &App, caller: &Caller) -> Result<InferStatus, Error> {
    match app.daemons.inferd.call(caller.meta("openai: models"), InferRequest::Status).await? {
        InferReply::Status(status) => Ok(status),
        _ => Err(unexpected("inferd").into()),
    }
}

/// The model that a request names.
pub(super) fn named(body: &Body) -> Result<&str, Error> {
    Fields::whole(&body.0)?.need("model")?.text()
}

/// The tier of this name. One that is not ready is asked all the same: inferd waits for a worker that is being started
/// again, and says what is wrong with the others.
pub(super) fn writer(status: &InferStatus, id: &str) -> Result<Chosen, Error> {
    let ready = |tier: &Tier| of(status, *tier).is_some_and(|(state, _)| state == EngineState::Ready);
    let own = |tier: &Tier| of(status, *tier).is_some_and(|(_, model)| model == Some(id));
    let tier = match Tier::ALL.into_iter().find(|tier| tier.name() == id) {
        Some(tier) => Some(tier),
        // The strategic tier costs money: who wants it names it.
        None if id == DEFAULT => {
            Some([Tier::Operational, Tier::Tactical].into_iter().find(ready).unwrap_or_default())
        }
        None => Tier::ALL.into_iter().find(own),
    };
    if let Some(tier) = tier {
        let name = of(status, tier).and_then(|(_, model)| model).unwrap_or(id).to_owned();
        return Ok(Chosen { tier, name });
    }
    if id == EMBED || status.embed.model.as_deref() == Some(id) {
        return Err(Error::invalid(
            "model",
            format!("{id} makes vectors and writes no text; `{DEFAULT}` does"),
        ));
    }
    Err(Error::no_model(id, &names(status)))
}

/// The embedding model, if that is its name; the name under which its vectors go.
pub(super) fn embedder(status: &InferStatus, id: &str) -> Result<String, Error> {
    let own = status.embed.model.as_deref();
    if id == EMBED || own == Some(id) {
        return Ok(own.unwrap_or(id).to_owned());
    }
    match writer(status, id) {
        Ok(_) => {
            Err(Error::invalid("model", format!("{id} writes text and makes no vectors; `{EMBED}` does")))
        }
        Err(error) => Err(error),
    }
}

fn of(status: &InferStatus, tier: Tier) -> Option<(EngineState, Option<&str>)> {
    let found = status.tiers.iter().find(|status| status.tier == tier)?;
    Some((found.engine.state, found.engine.model.as_deref()))
}

/// All names under which something is ready.
fn names(status: &InferStatus) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    for status in status.tiers.iter().filter(|status| status.engine.state == EngineState::Ready) {
        if status.tier != Tier::Strategic {
            add(DEFAULT);
        }
        add(status.tier.name());
        status.engine.model.as_deref().into_iter().for_each(&mut add);
    }
    if status.embed.state == EngineState::Ready {
        add(EMBED);
        status.embed.model.as_deref().into_iter().for_each(&mut add);
    }
    names
}

/// A model as the API shows it. When a model was made nobody here knows.
fn shown(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "aios" })
}

pub(super) async fn list(app: App, caller: Caller) -> Result<Json<Value>, Error> {
    let names = names(&status(&app, &caller).await?);
    let data: Vec<Value> = names.iter().map(|id| shown(id)).collect();
    Ok(Json(json!({ "object": "list", "data": data })))
}

pub(super) async fn one(app: App, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, Error> {
    let names = names(&status(&app, &caller).await?);
    match names.contains(&id) {
        true => Ok(Json(shown(&id))),
        false => Err(Error::no_model(&id, &names)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use aios_abi::infer::{Account, EngineHealth, Place, TierStatus};

    pub(in super::super) fn engine(model: Option<&str>, state: EngineState) -> EngineHealth {
        let model = model.map(str::to_owned);
        EngineHealth { state, detail: "so it is".into(), model, place: Place::Machine, restarts: 0 }
    }

    fn machine(tactical: EngineState) -> InferStatus {
        let tier =
            |tier, model, state| TierStatus { tier, engine: engine(model, state), done: Account::default() };
        InferStatus {
            tiers: vec![
                tier(Tier::Operational, Some("small/135M"), EngineState::Ready),
                tier(Tier::Tactical, Some("large-7B").filter(|_| tactical == EngineState::Ready), tactical),
                tier(Tier::Strategic, None, EngineState::Absent),
            ],
            embed: engine(Some("MiniLM"), EngineState::Ready),
            queued: 0,
        }
    }

    #[test]
    fn a_model_goes_by_its_tier_and_by_its_own_name() {
        let status = machine(EngineState::Ready);
        for (id, tier, name) in [
            ("default", Tier::Operational, "small/135M"),
            ("operational", Tier::Operational, "small/135M"),
            ("small/135M", Tier::Operational, "small/135M"),
            ("tactical", Tier::Tactical, "large-7B"),
            ("large-7B", Tier::Tactical, "large-7B"),
            ("strategic", Tier::Strategic, "strategic"),
        ] {
            assert_eq!(writer(&status, id), Ok(Chosen { tier, name: name.into() }));
        }
        assert_eq!(embedder(&status, "embed"), Ok("MiniLM".into()));
        assert_eq!(embedder(&status, "MiniLM"), Ok("MiniLM".into()));
    }

    #[test]
    fn only_what_is_ready_is_listed() {
        let listed = |tactical| names(&machine(tactical));
        assert_eq!(listed(EngineState::Loading), ["default", "operational", "small/135M", "embed", "MiniLM"]);
        assert!(listed(EngineState::Ready).contains(&"tactical".into()));
    }

    #[test]
    fn the_default_is_the_cheapest_that_is_ready_and_never_costs_money() {
        let mut status = machine(EngineState::Ready);
        status.tiers[0].engine.state = EngineState::Failed;
        assert_eq!(writer(&status, "default").map(|chosen| chosen.tier), Ok(Tier::Tactical));
        status.tiers[1].engine.state = EngineState::Absent;
        status.tiers[2].engine.state = EngineState::Ready;
        assert_eq!(writer(&status, "default").map(|chosen| chosen.tier), Ok(Tier::Operational));
        assert!(!names(&status).contains(&"default".into()));
    }

    #[test]
    fn what_is_no_model_or_the_wrong_one_is_said() {
        let status = machine(EngineState::Absent);
        let error = writer(&status, "gpt-4o").expect_err("no such model");
        assert_eq!((error.status.as_u16(), error.code), (404, Some("model_not_found")));
        assert!(error.message.contains("ready are default, operational"), "{error}");
        for wrong in [writer(&status, "embed").map(drop), embedder(&status, "default").map(drop)] {
            assert_eq!(wrong.expect_err("the wrong one").param.as_deref(), Some("model"));
        }
        assert_eq!(embedder(&status, "ada").expect_err("no such model").code, Some("model_not_found"));
    }
}
