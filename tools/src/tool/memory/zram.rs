//! `memory.zram`

use super::swap::{self, Area};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{self, Facts};
use crate::policy::Target;
use crate::reach::{Asks, Paths, directory_of};
use crate::tool::fs::shared::CHANGES;
use crate::tool::fs::write::{self, Write};
use crate::tool::process::shared::human_bytes;
use crate::tool::service::shared::{ask, unexpected};
use crate::undo::Kept;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the service is told.
const WISH: &str = "/data/config/zram";
/// It does what the file says.
const SERVICE: &str = "zram";

/// Swap to compressed memory: what is not used for a while takes about a third of its space then.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// How much may be swapped, in percent of the memory, 0 to 200; 0 turns it off. 50 is usual.
    #[schemars(range(min = 0, max = 200))]
    percent: u32,
}

/// What is so now, and after each start.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Set {
    /// Percent of the memory that may be swapped.
    percent: u32,
    /// The area in use; none when it is off.
    area: Option<Area>,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 58,
    name: "memory.zram",
    summary: "Set how much is swapped to compressed memory (zram), now and after each start",
    effect: Effect::Reversible,
    touches: &["/data/config/zram", "the swap area /dev/zram0"],
    role: Role::Admin,
    timeout_ms: 60_000,
    examples: &[
        ("turn on zram with half of the memory", r#"{"percent":50}"#),
        ("compress up to 100 percent of the memory as swap", r#"{"percent":100}"#),
        ("turn zram off", r#"{"percent":0}"#),
        ("this machine has little memory, swap a quarter of it to compressed memory", r#"{"percent":25}"#),
        ("set zram to 75%", r#"{"percent":75}"#),
    ],
    needs: CHANGES.read(&["/proc", "/sys"]).asks(&[Asks::InitToAct]),
    code: &Make {
        paths: |_| paths(),
        prepare,
        summary,
        undo: Some(Undo { paths: |_| Ok(paths()), run: undo }),
    },
};

fn paths() -> Paths {
    directory_of(WISH)
}

/// A wish that is to be written and fulfilled.
struct Wish {
    write: Write,
    percent: u32,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Wish, CallError> {
    let Args { percent } = args;
    if percent > 200 {
        return Err(CallError::invalid(format!("{percent} percent are more than 200")));
    }
    let place = file::place(&ctx.policy, WISH)?;
    let before = place.existing()?;
    let facts = match &before {
        Some(before) => before.facts.clone(),
        None => Facts::new(0o644, place.owner()?),
    };
    Ok(Wish { write: Write::new(place, before, format!("{percent}\n").into_bytes(), facts)?, percent })
}

impl Change for Wish {
    type Output = Set;

    fn target(&self) -> Target {
        self.write.target()
    }

    fn preview(&self) -> Preview {
        let would = match self.percent {
            0 => "swap nothing to compressed memory".to_owned(),
            percent => format!("swap up to {percent} percent of the memory to compressed memory"),
        };
        Preview { would, ..self.write.preview() }
    }

    fn save(&self) -> Option<Kept> {
        self.write.save()
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Set, CallError> {
        let written = self.write.apply(ctx)?;
        self.write.verify(ctx, &written)?;
        fulfil(ctx)?;
        Ok(Set { percent: self.percent, area: swap::compressed() })
    }

    fn verify(&self, _ctx: &Ctx, set: &Set) -> Result<(), CallError> {
        match set.area.is_some() == (self.percent > 0) {
            true => Ok(()),
            false => {
                Err(CallError::failed(format!("it is not so; the log of the service {SERVICE} says why")))
            }
        }
    }
}

/// Have the service do what the file says.
fn fulfil(ctx: &Ctx) -> Result<(), CallError> {
    match ask(ctx, InitRequest::Restart { name: SERVICE.into() })? {
        InitReply::Status(_) => Ok(()),
        _ => Err(unexpected()),
    }
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    (write::UNDO.run)(ctx, kept)?;
    fulfil(ctx)?;
    Ok(match swap::compressed() {
        Some(area) => format!("up to {} are swapped to compressed memory, as before", human_bytes(area.size)),
        None => "no memory is compressed, as before".into(),
    })
}

fn summary(set: &Set) -> String {
    match &set.area {
        Some(area) => format!("up to {} are swapped to compressed memory", human_bytes(area.size)),
        None => "nothing is swapped to compressed memory".into(),
    }
}
