//! The numbers that rules speak of, as a person writes them.

use crate::{Action, Moment, Object};
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// How far the agent goes when nobody has told it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Autonomy {
    /// It only looks.
    Observe,
    /// It proposes; a person does it.
    Suggest,
    /// It asks before each change.
    Confirm,
    /// It does what can be taken back, and asks before the rest.
    #[default]
    AutoSafe,
    /// It does all that is not forbidden; what cannot be taken back only where an exception names tool and target.
    AutoFull,
}

impl Autonomy {
    /// All levels, from least to most.
    pub const ALL: [Self; 5] = [Self::Observe, Self::Suggest, Self::Confirm, Self::AutoSafe, Self::AutoFull];

    /// Its name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Confirm => "confirm",
            Self::AutoSafe => "auto-safe",
            Self::AutoFull => "auto-full",
        }
    }
}

/// The whole document. What it does not say has the value that it has on a new appliance; one that says `autonomy` has
/// no exceptions but its own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// The agent's autonomy where no exception fits.
    pub autonomy: Autonomy,
    /// Other levels for some tools, targets and times; the first that fits counts.
    pub exceptions: Vec<Exception>,
    /// How much may be changed in a minute.
    pub limits: Limits,
    /// The agent asks before it changes these: paths with all below them, or `service NAME`.
    pub protected: Protected,
    /// Rules of one's own, in Cedar.
    pub rules: String,
}

impl Default for Document {
    /// That of a new appliance: what can be taken back the agent does, and it starts services anew that are not protected.
    fn default() -> Self {
        let tools = ["service.restart", "service.reload"].map(|name| Spanned::new(0..0, name.to_owned()));
        let restart = Exception {
            tools: tools.into(),
            targets: vec!["service *".into()],
            days: Vec::new(),
            window: None,
            autonomy: Autonomy::AutoFull,
        };
        Self {
            autonomy: Autonomy::default(),
            exceptions: vec![restart],
            limits: Limits::default(),
            protected: Protected::default(),
            rules: String::new(),
        }
    }
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Protected(pub Vec<String>);

impl Default for Protected {
    /// What carries the appliance itself.
    fn default() -> Self {
        let services = ["console", "log", "netd", "toold", "workshop"];
        Self(services.iter().map(|name| format!("service {name}")).collect())
    }
}

/// A level of autonomy for some tools, targets and times.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// `family.verb`, `family.*` or `*`.
    pub tools: Vec<Spanned<String>>,
    /// Paths with all below them, `service NAME`, or `service *` for all of a kind; without any, all targets.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Days on which it begins; without any, all.
    #[serde(default)]
    days: Vec<Day>,
    /// Times of the day, UTC, `22:00-06:00`; without any, all day.
    window: Option<Window>,
    /// The level.
    pub autonomy: Autonomy,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A span of the day, over midnight if its end is before its beginning; minutes of the day, the end not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Window {
    from: u16,
    to: u16,
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let time = |text: &str| -> Option<u16> {
            let (hour, minute) = text.trim().split_once(':')?;
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok());
            let (hour, minute): (u16, u16) = (digits(hour)??, digits(minute)??);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(from, to)| Some(Self { from: time(from)?, to: time(to)? }))
            .filter(|window| window.from != window.to)
            .ok_or_else(|| format!("`{text}` is no span of the day; write it as \"22:00-06:00\" (UTC)"))
    }
}

/// How much may be changed in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// By the agent when nobody has told it to.
    pub agent: AgentLimit,
    /// By each person, and by the agent for them.
    pub people: Limit,
}

/// Bounds for one caller and one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limit {
    /// Changes.
    pub changes: u32,
    /// Different targets.
    pub targets: u32,
    /// Bytes written or replaced.
    pub bytes: u64,
}

impl Default for Limit {
    fn default() -> Self {
        Self { changes: 600, targets: 300, bytes: 1 << 30 }
    }
}

/// The same, with other values where the document says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentLimit {
    /// Changes.
    pub changes: u32,
    /// Different targets.
    pub targets: u32,
    /// Bytes written or replaced.
    pub bytes: u64,
}

impl Default for AgentLimit {
    fn default() -> Self {
        Self { changes: 30, targets: 10, bytes: 64 << 20 }
    }
}

impl From<AgentLimit> for Limit {
    fn from(AgentLimit { changes, targets, bytes }: AgentLimit) -> Self {
        Self { changes, targets, bytes }
    }
}

impl Document {
    /// Read it. The error has the line and says what is wrong with it.
    pub fn read(text: &str, actions: &[Action]) -> Result<Self, String> {
        let mut document: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| line(text, span.start));
            format!("line {line}: {}", e.message().trim())
        })?;
        // Whoever sets the level means it, without the exceptions of a new appliance.
        let says = |key: &str| toml::from_str::<toml::Table>(text).is_ok_and(|all| all.contains_key(key));
        if says("autonomy") && !says("exceptions") {
            document.exceptions.clear();
        }
        for tool in document.exceptions.iter().flat_map(|exception| &exception.tools) {
            // Those of a new appliance are not in the text.
            if !tool.span().is_empty() && !actions.iter().any(|action| names(tool.as_ref(), action.name)) {
                let line = line(text, tool.span().start);
                return Err(format!(
                    "line {line}: there is no tool `{}`; write `family.verb`, `family.*` or `*`",
                    tool.as_ref()
                ));
            }
        }
        let patterns = document.exceptions.iter().flat_map(|exception| &exception.targets);
        if let Some(pattern) = patterns.chain(&document.protected.0).find(|pattern| !is_pattern(pattern)) {
            return Err(format!(
                "`{pattern}` names no target; write an absolute path, or a kind and a name such as `service web`"
            ));
        }
        Ok(document)
    }

    /// The agent's level for this, and which exception gives it.
    pub fn autonomy(&self, action: &str, object: &Object, moment: Moment) -> (Autonomy, Option<usize>) {
        let fits = |exception: &Exception| exception.fits(action, object, moment);
        match self.exceptions.iter().position(fits) {
            Some(index) => (self.exceptions[index].autonomy, Some(index)),
            None => (self.autonomy, None),
        }
    }

    /// The most that any target could get: what may be said before the target is known.
    pub fn most_autonomy(&self, action: &str, moment: Moment) -> Autonomy {
        let fits = |exception: &&Exception| exception.is_for(action) && exception.is_at(moment);
        let others = self.exceptions.iter().filter(fits).map(|exception| exception.autonomy);
        others.chain([self.autonomy]).max().unwrap_or_default()
    }

    /// Whether the agent asks before it changes this.
    pub fn protects(&self, object: &Object) -> bool {
        self.protected.0.iter().any(|pattern| covers(pattern, object))
    }
}

impl Exception {
    /// Whether it names this tool itself, and not with others.
    pub fn names(&self, action: &str) -> bool {
        self.tools.iter().any(|tool| tool.as_ref() == action)
    }

    fn is_for(&self, action: &str) -> bool {
        self.tools.iter().any(|tool| names(tool.as_ref(), action))
    }

    fn is_at(&self, Moment { day, minute }: Moment) -> bool {
        let on = |day: u8| self.days.is_empty() || self.days.iter().any(|wanted| *wanted as u8 == day);
        match self.window {
            None => on(day),
            Some(Window { from, to }) if from < to => on(day) && (from..to).contains(&minute),
            // After midnight it is still the window of the day before.
            Some(Window { from, to }) => (minute >= from && on(day)) || (minute < to && on((day + 6) % 7)),
        }
    }

    fn fits(&self, action: &str, object: &Object, moment: Moment) -> bool {
        let covered = || self.targets.iter().any(|pattern| covers(pattern, object));
        self.is_for(action) && self.is_at(moment) && (self.targets.is_empty() || covered())
    }
}

/// Whether a pattern of tools means this one.
fn names(pattern: &str, action: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(family) => action.split_once('.').is_some_and(|(own, _)| own == family),
        None => pattern == "*" || pattern == action,
    }
}

fn is_pattern(pattern: &str) -> bool {
    let kinds = crate::Kind::ALL.iter().map(|kind| kind.as_str().to_lowercase());
    match pattern.split_once(' ') {
        _ if pattern.starts_with('/') => true,
        Some((kind, name)) => !name.trim().is_empty() && kinds.chain(["process".into()]).any(|k| k == kind),
        None => false,
    }
}

/// Whether a pattern of targets means this one.
fn covers(pattern: &str, object: &Object) -> bool {
    match object {
        Object::File { path, .. } => pattern.starts_with('/') && path.starts_with(pattern),
        Object::Any => false,
        other => {
            let name = other.to_string();
            let of_kind = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' '));
            pattern.strip_suffix(" *").map_or(pattern == name, of_kind)
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}
