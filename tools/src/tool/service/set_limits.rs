//! `service.set_limits`

use super::shared::{ask, one, unexpected};
use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, Undo};
use crate::file::{self, Existing, Facts, Place};
use crate::policy::Target;
use crate::reach::{Asks, Paths, Way};
use crate::tool::fs::shared::CHANGES;
use crate::tool::process::shared::human_bytes;
use crate::undo::Kept;
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, ErrorCode, who::Role};
use aios_unit::{Resources, Users};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Where PID 1 takes service files from; limits that were set lie beside a person's.
const DIRECTORIES: [&str; 2] = ["/etc/aios/services", OWN];
const OWN: &str = "/data/config/services";

/// Limit what a service may take of the machine, from now on and after every boot. What is not named stays as it is; an empty
/// text forgets what was set for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Name of the service.
    name: String,
    /// Memory that it cannot exceed, such as `256M`; it is ended as a whole instead, and started again.
    memory_max: Option<String>,
    /// Memory that is not taken from it when memory is short, such as `16M`.
    memory_min: Option<String>,
    /// Its share of the processors against the other services, who have 100: 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    cpu_weight: Option<u32>,
    /// Percent of one processor that it may use, such as `50%`; `200%` are two.
    cpu_max: Option<String>,
    /// Processes and threads together.
    #[schemars(range(min = 1, max = 4_194_304))]
    pids_max: Option<u32>,
    /// Forget all limits that were set here before; those of its service file count again.
    #[serde(default)]
    reset: bool,
}

/// The limits that count now; none where there is no limit.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// Name of the service.
    name: String,
    /// Bytes of memory that it cannot exceed.
    memory_max: Option<u64>,
    /// Bytes of memory that are not taken from it.
    memory_min: Option<u64>,
    /// Its share of the processors.
    cpu_weight: Option<u32>,
    /// Percent of one processor.
    cpu_max: Option<u32>,
    /// Processes and threads.
    pids_max: Option<u32>,
    /// Whether that was different before.
    changed: bool,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 180,
    name: "service.set_limits",
    summary: "Limit the memory, processor time and processes of a service",
    effect: Effect::Reversible,
    touches: &["/data/config/services/NAME.limits", "the service's cgroup"],
    role: Role::Admin,
    timeout_ms: 30_000,
    examples: &[
        ("give inferd at most 2 GB of memory", r#"{"name":"inferd","memory_max":"2G"}"#),
        ("limit web to half a processor", r#"{"name":"web","cpu_max":"50%"}"#),
        ("netd may have at most 64 processes", r#"{"name":"netd","pids_max":64}"#),
        ("reserve 64 MB of memory for agentd", r#"{"name":"agentd","memory_min":"64M"}"#),
        ("remove the limits of web that were set by hand", r#"{"name":"web","reset":true}"#),
        (
            "let the database have twice the share of the processors",
            r#"{"name":"postgresql","cpu_weight":200}"#,
        ),
    ],
    needs: CHANGES
        .read(&["/etc/aios", "/etc/passwd", "/etc/group", "/proc/meminfo"])
        .asks(&[Asks::InitToAct]),
    code: &Make { paths, prepare, summary, undo: Some(Undo { paths: |_| Ok(place_of()), run: undo }) },
};

fn paths(_: &Args) -> Paths {
    place_of()
}

fn place_of() -> Paths {
    vec![(Way::Change, PathBuf::from(OWN))]
}

struct Setting {
    place: Place,
    before: Option<Existing>,
    name: String,
    /// The new text; none removes the file.
    text: Option<String>,
    /// What counts before and after.
    limits: (Resources, Resources),
}

/// What undo has to know; the content is the text before.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    name: String,
    before: Option<Facts>,
    after: Option<String>,
}

fn prepare(ctx: &Ctx, args: Args) -> Result<Setting, CallError> {
    let loaded = aios_unit::load(&DIRECTORIES.map(Path::new), &Users::read(Path::new("/")));
    let Some(unit) = loaded.units.iter().find(|unit| unit.name == args.name) else {
        return Err(CallError::not_found(format!("no service file is in force for \"{}\"", args.name)));
    };
    let own = loaded.own_limits.iter().find(|(name, _)| *name == args.name);
    let own = own.map_or(&unit.resources, |(_, own)| own);
    let place = file::place(&ctx.policy, &format!("{OWN}/{}.{}", args.name, aios_unit::LIMITS))?;
    let before = place.existing()?;
    let old = before.as_ref().map(|file| String::from_utf8_lossy(&file.content).into_owned());
    let text = text(old.as_deref().unwrap_or_default(), &args);
    let after = aios_unit::limited(&args.name, own, &place.path, &text).map_err(CallError::invalid)?;
    let service = one(ctx, &args.name)?;
    if let (Some(now), Some(most)) = (service.memory_bytes, after.memory_max)
        && now > most
    {
        return Err(CallError::new(
            ErrorCode::Conflict,
            format!(
                "{} uses {} at this moment and would be ended at once; give it more than that, or restart it first",
                args.name,
                human_bytes(now)
            ),
        ));
    }
    let machine = memory_of_machine();
    if let (Some(least), Some(all)) = (after.memory_min, machine)
        && after.memory_min != own.memory_min
        && least > all / 4
    {
        let text = format!("memory_min takes it from all others: at most a quarter of {}", human_bytes(all));
        return Err(CallError::invalid(text));
    }
    let text = Some(text).filter(|text| !text.trim().is_empty());
    Ok(Setting { place, before, name: args.name, text, limits: (unit.resources.clone(), after) })
}

/// Lines as they were, but those of the keys that are named.
pub(crate) fn text(old: &str, args: &Args) -> String {
    let quoted = |value: &Option<String>| {
        value.as_ref().map(|value| if value.is_empty() { String::new() } else { format!("{value:?}") })
    };
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let keys = [
        ("memory_max", quoted(&args.memory_max)),
        ("memory_min", quoted(&args.memory_min)),
        ("cpu_weight", number(args.cpu_weight)),
        ("cpu_max", quoted(&args.cpu_max)),
        ("pids_max", number(args.pids_max)),
    ];
    let named = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        keys.iter().any(|(name, value)| *name == key && value.is_some())
    };
    let mut text: String =
        old.lines().filter(|line| !args.reset && !named(line)).map(|line| format!("{line}\n")).collect();
    for (key, value) in keys.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        if !value.is_empty() {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// Bytes of memory that the machine has (`MemTotal` of proc_meminfo(5)).
fn memory_of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Put this text in place, or none, and have init follow it.
fn put(
    ctx: &Ctx,
    place: &Place,
    before: Option<&Existing>,
    new: Option<(&[u8], &Facts)>,
) -> Result<(), CallError> {
    match (new, before) {
        (Some((text, facts)), before) => place.replace(before, text, facts, false)?,
        (None, Some(before)) => place.remove(before)?,
        (None, None) => {}
    }
    let InitReply::Rescanned { refused, .. } = ask(ctx, InitRequest::Rescan)? else {
        return Err(unexpected());
    };
    let path = place.path.display().to_string();
    match refused.into_iter().find(|sentence| sentence.starts_with(&path)) {
        Some(sentence) => Err(CallError::failed(format!("init refuses it: {sentence}"))),
        None => Ok(()),
    }
}

impl Change for Setting {
    type Output = Limits;

    fn target(&self) -> Target {
        Target::Service(self.name.clone())
    }

    fn preview(&self) -> Preview {
        let old = self.before.as_ref().map(|file| String::from_utf8_lossy(&file.content).into_owned());
        let (old, new) = (old.unwrap_or_default(), self.text.clone().unwrap_or_default());
        let name = &self.name;
        if self.limits.0 == self.limits.1 {
            return Preview { would: format!("change nothing: {name} has these limits already"), diff: None };
        }
        let diff = similar::TextDiff::from_lines(&old, &new);
        let diff = diff.unified_diff().header("limits (now)", "limits (then)").to_string();
        Preview { would: format!("set limits of {name} from now on"), diff: Some(diff) }
    }

    fn save(&self) -> Option<Kept> {
        let before = self.before.as_ref().map(|file| file.facts.clone());
        let note = Note { name: self.name.clone(), before, after: self.text.clone() };
        Some(Kept::new(&note, self.before.as_ref().map(|file| file.content.clone())))
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Limits, CallError> {
        let facts = self.before.as_ref().map_or(Facts::new(0o644, (0, 0)), |file| file.facts.clone());
        let new = self.text.as_ref().map(|text| (text.as_bytes(), &facts));
        if let Err(why) = put(ctx, &self.place, self.before.as_ref(), new) {
            // Nobody is left with a file that is not followed.
            let back = self.before.as_ref().map(|file| (file.content.as_slice(), &file.facts));
            let end = match self.place.existing().and_then(|now| put(ctx, &self.place, now.as_ref(), back)) {
                Ok(()) => "everything is as it was before".to_owned(),
                Err(e) => format!("and what was before could not be put back: {e}"),
            };
            return Err(CallError::new(why.code, format!("{}; {end}", why.message)));
        }
        let (before, after) = &self.limits;
        Ok(Limits {
            name: self.name.clone(),
            memory_max: after.memory_max,
            memory_min: after.memory_min,
            cpu_weight: after.cpu_weight,
            cpu_max: after.cpu_max,
            pids_max: after.pids_max,
            changed: before != after,
        })
    }
}

fn summary(limits: &Limits) -> String {
    let bytes = |value: Option<u64>| value.map(human_bytes);
    let percent = limits.cpu_max.map(|percent| format!("{percent}%"));
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let all = [
        ("memory at most", bytes(limits.memory_max)),
        ("memory kept", bytes(limits.memory_min)),
        ("processor at most", percent),
        ("processor share", number(limits.cpu_weight)),
        ("processes at most", number(limits.pids_max)),
    ];
    let said: Vec<String> =
        all.into_iter().filter_map(|(words, value)| Some(format!("{words} {}", value?))).collect();
    let already = if limits.changed { "" } else { " already" };
    match said.is_empty() {
        true => format!("{} has no limits{already}", limits.name),
        false => format!("{} has{already}: {}", limits.name, said.join(", ")),
    }
}

fn undo(ctx: &Ctx, kept: &Kept) -> Result<String, CallError> {
    let Note { name, before, after } = kept.read()?;
    let place = file::place(&ctx.policy, &format!("{OWN}/{name}.{}", aios_unit::LIMITS))?;
    let now = place.existing()?;
    let old = kept.content.as_deref();
    let content = now.as_ref().map(|file| file.content.as_slice());
    if content != old {
        if content != after.as_deref().map(str::as_bytes) {
            let text = format!("the limits of {name} were set again since; undo that first");
            return Err(CallError::new(ErrorCode::Conflict, text));
        }
        let facts = before.unwrap_or_else(|| Facts::new(0o644, (0, 0)));
        match (old, &now) {
            (Some(text), _) => place.replace(now.as_ref(), text, &facts, true)?,
            (None, Some(now)) => place.remove(now)?,
            (None, None) => {}
        }
    }
    let InitReply::Rescanned { .. } = ask(ctx, InitRequest::Rescan)? else { return Err(unexpected()) };
    Ok(format!("{name} has the limits that it had before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_keys_change_and_nothing_is_left_of_those_that_are_forgotten() {
        let args = |json: &str| serde_json::from_str::<Args>(json).expect("arguments");
        let old = "# by hand\nmemory_max = \"64M\"\nio_weight = 50\n";
        let new = text(old, &args(r#"{"name":"web","memory_max":"128M","pids_max":9}"#));
        assert_eq!(new, "# by hand\nio_weight = 50\nmemory_max = \"128M\"\npids_max = 9\n");
        assert_eq!(
            text(&new, &args(r#"{"name":"web","memory_max":""}"#)),
            "# by hand\nio_weight = 50\npids_max = 9\n"
        );
        assert_eq!(text(old, &args(r#"{"name":"web","reset":true}"#)), "");
        let quoted = text("", &args(r#"{"name":"web","cpu_max":"5\"\nnice = 5"}"#));
        assert!(
            aios_unit::limited("web", &Resources::default(), Path::new("x"), &quoted).is_err(),
            "{quoted}"
        );
    }
}
