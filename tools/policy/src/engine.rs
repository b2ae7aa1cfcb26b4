//! Rules and numbers together.

use crate::{Action, Autonomy, Document, Limit, Object, Request, UNDO};
use aios_abi::tool::Effect;
use aios_abi::who::Role;
use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision as Answer, Effect as Ruling, Entities, Entity, EntityId,
    EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, RestrictedExpression,
    Schema, ValidationMode, Validator,
};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::str::FromStr;

const APPLIANCE: &str = include_str!("appliance.cedar");

/// Rules of a person's own begin so.
const OWN: &str = "own rule ";

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may be done once a person has approved it.
    Ask,
    /// It may not be done.
    Deny,
}

impl Verdict {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// An answer and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub verdict: Verdict,
    /// The rules that made it so, in their order; none when no rule allows it.
    pub reasons: Vec<Reason>,
    /// The agent's level here.
    pub autonomy: Autonomy,
    /// Which exception of the document gives it that level, from 0.
    pub exception: Option<usize>,
}

/// A rule that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Its name.
    pub rule: String,
    /// What it says to those whom it stops.
    pub says: Option<String>,
}

struct Known {
    action: Action,
    entity: Entity,
}

/// Rules and numbers, checked.
pub struct Engine {
    document: Document,
    rules: PolicySet,
    /// Names of the rules in the order in which they stand.
    order: Vec<PolicyId>,
    actions: HashMap<&'static str, Known>,
}

impl Engine {
    /// Read a document for these tools. The error is one sentence with place and cure.
    pub fn new(actions: &[Action], text: &str) -> Result<Self, String> {
        let all = with_undo(actions);
        let document = Document::read(text, &all)?;
        let mut own = own_rules(&document.rules)?;
        // Those of the appliance are checked when it is built: each takes longer than all other work at a start.
        validate(&all, own.clone())?;
        let mut rules = appliance()?;
        rules.append(&mut own);
        let order = rules.iter().map(|rule| rule.id().clone()).collect();
        let rules = PolicySet::from_policies(rules)
            .map_err(|e| format!("rules: {e}; give each rule an @id(\"…\") of its own"))?;
        let known = |action: Action| Some((action.name, Known { entity: entity(&action)?, action }));
        let actions = all.into_iter().map(known).collect::<Option<_>>();
        let actions = actions.ok_or("an action of this release has no valid name")?;
        let engine = Self { document, rules, order, actions };
        crate::check::irreversible(&engine)?;
        Ok(engine)
    }

    /// The document that it was made from.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The tools it knows.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &Action> {
        self.actions.values().map(|known| &known.action)
    }

    /// Its rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = (String, String)> {
        let text = |id: &PolicyId| self.rules.policy(id).map(ToString::to_string).unwrap_or_default();
        self.order.iter().map(move |id| (id.to_string(), text(id)))
    }

    /// Bounds for this caller.
    pub fn limit(&self, alone: bool) -> Limit {
        let limits = &self.document.limits;
        if alone { limits.agent.into() } else { limits.people }
    }

    /// Whether this may be done.
    pub fn decide(&self, request: &Request<'_>) -> Decision {
        let Request { action, object, situation, .. } = request;
        let (autonomy, exception) = self.document.autonomy(action, object, situation.moment);
        let decision = |verdict, reasons| Decision { verdict, reasons, autonomy, exception };
        let named = exception.and_then(|index| self.document.exceptions.get(index));
        let named = named.is_some_and(|one| one.names(action) && !one.targets.is_empty());
        let (answer, reasons) = self.ask(request, &self.rules, autonomy, named, situation.approved);
        match answer {
            Answer::Allow => decision(Verdict::Allow, reasons),
            // Would a person's word help?
            Answer::Deny if request.subject.alone && !situation.approved => {
                match self.ask(request, &self.rules, autonomy, named, true).0 {
                    Answer::Allow => decision(Verdict::Ask, reasons),
                    Answer::Deny => decision(Verdict::Deny, reasons),
                }
            }
            Answer::Deny => decision(Verdict::Deny, reasons),
        }
    }

    /// Whether this might be done, to a target that is not known yet. What is refused here is refused whatever the
    /// target is; what is not is decided once it is known.
    pub fn might(&self, request: &Request<'_>) -> Decision {
        let autonomy = self.document.most_autonomy(request.action, request.situation.moment);
        let (answer, reasons) = self.ask(request, &self.rules, autonomy, true, true);
        // A rule that allows it for some target is no answer to a question without one.
        let nobody_forbids = reasons.is_empty();
        let allowed = answer == Answer::Allow || (nobody_forbids && self.own_permit_fits(request));
        let verdict = if allowed { Verdict::Allow } else { Verdict::Deny };
        Decision { verdict, reasons, autonomy, exception: None }
    }

    fn own_permit_fits(&self, request: &Request<'_>) -> bool {
        let known = self.actions.get(request.action).zip(self.roles(request.subject.role));
        let Some((Known { action, entity }, roles)) = known else { return false };
        let groups = groups(action);
        let means = |uid: &EntityUid| {
            let name = uid.id().unescaped();
            name == action.name || groups.iter().any(|group| group == name)
        };
        let fits = |rule: &Policy| {
            let by = match rule.principal_constraint() {
                PrincipalConstraint::In(uid) => roles.contains(&uid),
                PrincipalConstraint::Eq(uid) => principal(request).is_some_and(|own| own == uid),
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) | PrincipalConstraint::IsIn(..) => true,
            };
            let what = match rule.action_constraint() {
                ActionConstraint::Any => true,
                ActionConstraint::In(uids) => uids.iter().any(means),
                ActionConstraint::Eq(uid) => uid == entity.uid(),
            };
            by && what
        };
        self.own_permits().any(fits)
    }

    fn entity_of(&self, action: &str) -> Option<&Entity> {
        self.actions.get(action).map(|known| &known.entity)
    }

    pub(crate) fn own_permits(&self) -> impl Iterator<Item = &Policy> {
        let own = |rule: &&Policy| AsRef::<str>::as_ref(rule.id()).starts_with(OWN);
        self.rules.policies().filter(|rule| rule.effect() == Ruling::Permit).filter(own)
    }

    fn roles(&self, role: Role) -> Option<HashSet<EntityUid>> {
        let all = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];
        all.iter().filter(|one| **one <= role).map(|one| uid("Role", one.as_str())).collect()
    }

    /// The rules alone, under these assumptions. What cannot be asked is denied.
    pub(crate) fn ask(
        &self,
        request: &Request<'_>,
        rules: &PolicySet,
        autonomy: Autonomy,
        named: bool,
        approved: bool,
    ) -> (Answer, Vec<Reason>) {
        let question = || -> Option<(cedar_policy::Request, Entities)> {
            let action = self.entity_of(request.action)?;
            let subject = self.subject(request)?;
            let object = object_entity(request.object)?;
            let context = self.context(request, autonomy, named, approved)?;
            let asked =
                cedar_policy::Request::new(subject.uid(), action.uid(), object.uid(), context, None).ok()?;
            Some((asked, Entities::from_entities([subject, action.clone(), object], None).ok()?))
        };
        let Some((asked, entities)) = question() else {
            return (Answer::Deny, Vec::new());
        };
        let response = Authorizer::new().is_authorized(&asked, rules, &entities);
        let diagnostics = response.diagnostics();
        if let Some(error) = diagnostics.errors().next() {
            // A rule that could not be evaluated may have been a forbid.
            let says = Some(format!("a rule could not be evaluated: {error}"));
            return (Answer::Deny, vec![Reason { rule: "error".into(), says }]);
        }
        let counted: HashSet<&PolicyId> = diagnostics.reason().collect();
        let reason = |id: &PolicyId| Reason {
            rule: id.to_string(),
            says: rules.annotation(id, "says").filter(|says| !says.is_empty()).map(str::to_owned),
        };
        let reasons = self.order.iter().filter(|id| counted.contains(id)).map(reason).collect();
        (response.decision(), reasons)
    }

    fn subject(&self, request: &Request<'_>) -> Option<Entity> {
        let subject = request.subject;
        let facts = [("by", text(&subject.by)), ("alone", RestrictedExpression::new_bool(subject.alone))];
        make(principal(request)?, facts, self.roles(subject.role)?)
    }

    fn context(
        &self,
        request: &Request<'_>,
        autonomy: Autonomy,
        named: bool,
        approved: bool,
    ) -> Option<Context> {
        let (situation, truth) = (request.situation, RestrictedExpression::new_bool);
        let number = |n: u64| RestrictedExpression::new_long(i64::try_from(n).unwrap_or(i64::MAX));
        let limit = self.limit(request.subject.alone);
        let pairs = [
            ("reason", truth(situation.reason)),
            ("dry_run", truth(situation.dry_run)),
            ("approved", truth(approved)),
            ("autonomy", number(autonomy as u64)),
            ("named", truth(named)),
            ("protected", truth(self.document.protects(request.object))),
            ("minute", number(situation.moment.minute.into())),
            ("weekday", number(u64::from(situation.moment.day) + 1)),
            ("changes", number(situation.done.changes.into())),
            ("targets", number(situation.done.targets.into())),
            ("bytes", number(situation.done.bytes)),
            ("most_changes", number(limit.changes.into())),
            ("most_targets", number(limit.targets.into())),
            ("most_bytes", number(limit.bytes)),
        ];
        Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value))).ok()
    }

    /// The schema that rules are checked against, for those who write some.
    pub fn schema(&self) -> String {
        let actions: Vec<Action> = self.actions().cloned().collect();
        schema_text(&actions)
    }

    /// Whether the rules of every appliance fit these tools; for tests, since it takes a while.
    pub fn check_appliance(actions: &[Action]) -> Result<(), String> {
        validate(&with_undo(actions), appliance()?)
    }

    /// Whether Cedar itself finds these questions well-formed; for tests.
    pub fn are_well_formed<'a>(&self, requests: impl IntoIterator<Item = &'a Request<'a>>) -> bool {
        let actions: Vec<Action> = self.actions().cloned().collect();
        let Ok(schema) = schema(&actions) else { return false };
        requests.into_iter().all(|request| self.is_well_formed(request, &schema))
    }

    fn is_well_formed(&self, request: &Request<'_>, schema: &Schema) -> bool {
        let question = || {
            let action = self.entity_of(request.action)?;
            let context = self.context(request, Autonomy::Confirm, false, false)?;
            let object = object_entity(request.object)?;
            let (by, what, to) = (principal(request)?, action.uid(), object.uid());
            cedar_policy::Request::new(by, what, to, context, Some(schema)).ok()
        };
        question().is_some()
    }
}

fn principal(request: &Request<'_>) -> Option<EntityUid> {
    match &request.subject.person {
        Some(person) => uid("Person", person),
        None => uid("Daemon", &request.subject.by),
    }
}

fn uid(kind: &str, name: &str) -> Option<EntityUid> {
    let kind = EntityTypeName::from_str(kind).ok()?;
    Some(EntityUid::from_type_name_and_id(kind, EntityId::new(name)))
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn make<const N: usize>(
    uid: EntityUid,
    facts: [(&str, RestrictedExpression); N],
    within: HashSet<EntityUid>,
) -> Option<Entity> {
    Entity::new(uid, facts.map(|(name, value)| (name.to_owned(), value)).into(), within).ok()
}

fn entity(action: &Action) -> Option<Entity> {
    let groups = groups(action).into_iter().map(|group| uid("Action", &group));
    Some(Entity::new_no_attrs(uid("Action", action.name)?, groups.collect::<Option<_>>()?))
}

fn object_entity(object: &Object) -> Option<Entity> {
    let (truth, none) = (RestrictedExpression::new_bool, HashSet::new);
    match object {
        Object::Any => make(uid("Any", "")?, [], none()),
        Object::File { path, area, private } => {
            let within = path.ancestors().skip(1).map(|folder| uid("Directory", &folder.to_string_lossy()));
            let facts =
                [("area", text(area.as_str())), ("private", truth(*private)), ("path", text_of(path))];
            make(uid("File", &path.to_string_lossy())?, facts, within.collect::<Option<_>>()?)
        }
        Object::Process { pid, kernel, broker, halt } => {
            let facts = [
                ("number", RestrictedExpression::new_long((*pid).into())),
                ("kernel", truth(*kernel)),
                ("broker", truth(*broker)),
                ("halt", truth(*halt)),
            ];
            make(uid("Process", &pid.to_string())?, facts, none())
        }
        Object::Named(kind, name) => make(uid(kind.as_str(), name)?, [], none()),
    }
}

fn text_of(path: &Path) -> RestrictedExpression {
    text(&path.to_string_lossy())
}

/// The groups that an action is in.
fn groups(action: &Action) -> Vec<String> {
    let family = action.name.split_once('.').map(|(family, _)| format!("{family}.*"));
    let effects: &[&str] = match action.effect {
        Effect::Read => &["look"],
        Effect::Reversible => &["change", "reversible"],
        Effect::Irreversible => &["change", "irreversible"],
    };
    let effects = effects.iter().map(|name| (*name).to_owned());
    effects.chain([format!("of {}s", action.least.as_str())]).chain(family).collect()
}

/// What rules can speak of. Made from the declarations of the tools, so that a rule about one that does not exist is
/// refused.
fn with_undo(actions: &[Action]) -> Vec<Action> {
    let undo = Action { name: UNDO, least: Role::Operator, effect: Effect::Reversible };
    actions.iter().cloned().chain([undo]).collect()
}

fn schema(actions: &[Action]) -> Result<Schema, String> {
    let read = Schema::from_cedarschema_str(&schema_text(actions));
    read.map(|(schema, _)| schema).map_err(|e| format!("the schema of this release is damaged: {e}"))
}

/// Whether these rules name only tools, kinds of targets and attributes that exist, and compare like with like.
fn validate(actions: &[Action], rules: Vec<Policy>) -> Result<(), String> {
    if rules.is_empty() {
        return Ok(());
    }
    let rules = PolicySet::from_policies(rules)
        .map_err(|e| format!("rules: {e}; give each rule an @id(\"…\") of its own"))?;
    let checked = Validator::new(schema(actions)?).validate(&rules, ValidationMode::Strict);
    checked.validation_errors().next().map_or(Ok(()), |error| Err(error.to_string()))
}

fn schema_text(actions: &[Action]) -> String {
    let quoted = |names: &[String]| names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ");
    let mut every: Vec<String> = actions.iter().flat_map(groups).collect();
    let fixed = ["look", "change", "reversible", "irreversible"].map(str::to_owned);
    let roles = [Role::Viewer, Role::Operator, Role::Approver, Role::Admin];
    every.extend(fixed.into_iter().chain(roles.map(|role| format!("of {}s", role.as_str()))));
    every.sort();
    every.dedup();
    let kinds: Vec<&str> = crate::Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let kinds = kinds.join(", ");
    let mut schema = format!(
        "entity Role;\nentity Directory;\nentity Person, Daemon in [Role] {{ by: String, alone: Bool }};\nentity Any, {kinds};\n\
         entity File in [Directory] {{ path: String, area: String, private: Bool }};\n\
         entity Process {{ number: Long, kernel: Bool, broker: Bool, halt: Bool }};\n\
         type Situation = {{ reason: Bool, dry_run: Bool, approved: Bool, autonomy: Long, named: Bool, protected: Bool, \
         minute: Long, weekday: Long, changes: Long, targets: Long, bytes: Long, most_changes: Long, most_targets: Long, \
         most_bytes: Long }};\naction {};\n",
        quoted(&every)
    );
    let mut actions: Vec<&Action> = actions.iter().collect();
    actions.sort_by_key(|action| action.name);
    for action in actions {
        schema.push_str(&format!(
            "action \"{}\" in [{}] appliesTo {{ principal: [Person, Daemon], resource: [Any, File, Process, {kinds}], \
             context: Situation }};\n",
            action.name,
            quoted(&groups(action))
        ));
    }
    schema
}

pub(crate) fn appliance() -> Result<Vec<Policy>, String> {
    named(APPLIANCE, |id, _| id.map(str::to_owned)).map_err(|e| format!("the appliance's rules: {e}"))
}

fn own_rules(text: &str) -> Result<Vec<Policy>, String> {
    named(text, |id, number| Some(format!("{OWN}{}", id.map_or(number.to_string(), str::to_owned))))
        .map_err(|e| format!("rules: {e}"))
}

/// The rules of a text, each with the name that it gives itself.
fn named(text: &str, name: impl Fn(Option<&str>, usize) -> Option<String>) -> Result<Vec<Policy>, String> {
    let set = PolicySet::from_str(text).map_err(|errors| {
        let first = errors.iter().next();
        let place = first.and_then(|e| miette::Diagnostic::labels(e)?.next()).map(|label| {
            let before = text.get(..label.offset()).unwrap_or_default();
            format!("line {} of them: ", before.matches('\n').count() + 1)
        });
        format!("{}{errors}", place.unwrap_or_default())
    })?;
    if set.templates().next().is_some() {
        return Err("a rule has slots (?principal, ?resource); write the role and the target out".into());
    }
    let mut rules: Vec<&Policy> = set.policies().collect();
    // They are called policy0, policy1, … in the order in which they stand.
    rules
        .sort_by_key(|rule| rule.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(0));
    let name = |(number, rule): (usize, &Policy)| {
        let name = name(rule.annotation("id"), number + 1)?;
        Some(rule.new_id(PolicyId::new(name)))
    };
    rules
        .into_iter()
        .enumerate()
        .map(name)
        .collect::<Option<_>>()
        .ok_or_else(|| "a rule has no @id".to_owned())
}
