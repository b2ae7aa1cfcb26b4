use crate::engine::appliance;
use crate::*;
use cedar_policy::PolicySet;
use proptest::prelude::*;

const ACTIONS: [Action; 6] = [
    Action { name: "fs.read", least: Role::Viewer, effect: Effect::Read },
    Action { name: "fs.write", least: Role::Operator, effect: Effect::Reversible },
    Action { name: "service.restart", least: Role::Operator, effect: Effect::Irreversible },
    Action { name: "process.kill", least: Role::Operator, effect: Effect::Irreversible },
    Action { name: "sec.audit", least: Role::Approver, effect: Effect::Read },
    Action { name: "policy.set", least: Role::Admin, effect: Effect::Reversible },
];

fn engine(text: &str) -> Engine {
    Engine::new(&ACTIONS, text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refusal(text: &str) -> String {
    Engine::new(&ACTIONS, text).err().unwrap_or_else(|| panic!("{text} was taken"))
}

fn person(role: Role) -> Subject {
    Subject { by: "console".into(), person: Some("ada".into()), role, alone: false }
}

fn agent() -> Subject {
    Subject { by: "agentd".into(), person: None, role: Role::Operator, alone: true }
}

fn service(name: &str) -> Object {
    Object::Named(Kind::Service, name.into())
}

fn file(path: &str, area: Area) -> Object {
    Object::File { path: path.into(), area, private: false }
}

fn process(pid: u32) -> Object {
    Object::Process { pid, kernel: false, broker: false, halt: false }
}

fn reason() -> Situation {
    Situation { reason: true, ..Situation::default() }
}

fn verdict(engine: &Engine, subject: &Subject, action: &str, object: &Object) -> Verdict {
    decide(engine, subject, action, object, &reason()).verdict
}

fn decide(
    engine: &Engine,
    subject: &Subject,
    action: &str,
    object: &Object,
    situation: &Situation,
) -> Decision {
    engine.decide(&Request { subject, action, object, situation })
}

/// Questions that between them need every rule of the appliance.
fn questions() -> Vec<(Subject, &'static str, Object, Situation)> {
    use Role::{Admin, Approver, Operator, Viewer};
    let open = || file("/data/x", Area::Open);
    let private = Object::File { path: "/data/p".into(), area: Area::Open, private: true };
    let kernel = Object::Process { pid: 2, kernel: true, broker: false, halt: false };
    let broker = Object::Process { pid: 77, kernel: false, broker: true, halt: true };
    let done = |changes, targets, bytes| Situation { done: Count { changes, targets, bytes }, ..reason() };
    vec![
        (person(Viewer), "fs.read", open(), reason()),
        (person(Viewer), "process.kill", process(5), reason()),
        (person(Operator), "fs.write", open(), reason()),
        (person(Operator), "fs.write", open(), Situation::default()),
        (person(Approver), "sec.audit", Object::Any, reason()),
        (person(Admin), "policy.set", Object::Named(Kind::Policy, "own".into()), reason()),
        (person(Admin), "fs.read", file("/etc/shadow", Area::Secret), reason()),
        (person(Admin), "fs.write", file("/data/netd/lease", Area::Kept), reason()),
        (person(Admin), "fs.write", file("/etc/passwd", Area::Fixed), reason()),
        (person(Operator), "fs.write", file("/data/config/x", Area::Guarded), reason()),
        (person(Operator), "fs.read", private, reason()),
        (person(Admin), "process.kill", process(1), reason()),
        (person(Admin), "process.kill", kernel, reason()),
        (person(Admin), "process.kill", broker, reason()),
        (agent(), "fs.write", open(), reason()),
        (agent(), "process.kill", process(5), reason()),
        (agent(), "fs.write", file("/data/precious/x", Area::Open), reason()),
        (person(Operator), "fs.write", open(), done(600, 0, 0)),
        (person(Operator), "fs.write", open(), done(0, 300, 0)),
        (person(Operator), "fs.write", open(), done(0, 0, (1 << 30) + 1)),
    ]
}

#[test]
fn each_rule_of_the_appliance_changes_a_decision() {
    let engines: Vec<Engine> = Autonomy::ALL
        .iter()
        .map(|level| engine(&format!("autonomy = \"{}\"\nprotected = [\"/data/precious\"]", level.as_str())))
        .collect();
    let rules = appliance().expect("are rules");
    // Given to everybody, so that the forbid beside it is what counts.
    let all = cedar_policy::Policy::parse(None, "permit (principal, action, resource);").expect("a rule");
    for left_out in &rules {
        let others = || rules.iter().filter(|rule| rule.id() != left_out.id()).cloned();
        let changes = |widened: bool| {
            let wide = widened.then(|| all.clone());
            let with = PolicySet::from_policies(rules.iter().cloned().chain(wide.clone())).expect("a set");
            let without = PolicySet::from_policies(others().chain(wide)).expect("a set");
            engines.iter().any(|engine| {
                questions().iter().any(|(subject, action, object, situation)| {
                    let request = Request { subject, action, object, situation };
                    let level = engine.document().autonomy;
                    let ask = |rules| engine.ask(&request, rules, level, false, false).0;
                    ask(&with) != ask(&without)
                })
            })
        };
        assert!(changes(false) || changes(true), "{} changes nothing", left_out.id());
    }
}

#[test]
fn all_questions_are_well_formed() {
    let questions = questions();
    let requests: Vec<Request<'_>> = questions
        .iter()
        .map(|(subject, action, object, situation)| Request { subject, action, object, situation })
        .collect();
    assert!(engine("").are_well_formed(&requests));
    Engine::check_appliance(&ACTIONS).expect("the rules of every appliance fit");
}

#[test]
fn the_level_of_autonomy_decides_what_the_agent_does_alone() {
    use Verdict::{Allow, Ask, Deny};
    // look, reversible, irreversible, protected
    let table = [
        (Autonomy::Observe, [Allow, Deny, Deny, Deny]),
        (Autonomy::Suggest, [Allow, Deny, Deny, Deny]),
        (Autonomy::Confirm, [Allow, Ask, Ask, Ask]),
        (Autonomy::AutoSafe, [Allow, Allow, Ask, Ask]),
        (Autonomy::AutoFull, [Allow, Allow, Ask, Ask]),
    ];
    for (level, expected) in table {
        let text = format!("autonomy = \"{}\"\nprotected = [\"/data/precious\"]", level.as_str());
        let engine = engine(&text);
        let open = file("/data/x", Area::Open);
        let precious = file("/data/precious/x", Area::Open);
        let found = [
            verdict(&engine, &agent(), "fs.read", &open),
            verdict(&engine, &agent(), "fs.write", &open),
            verdict(&engine, &agent(), "service.restart", &service("web")),
            verdict(&engine, &agent(), "fs.write", &precious),
        ];
        assert_eq!(found, expected, "{level:?}");
        // With a person's word it is theirs.
        let told = Subject { alone: false, ..agent() };
        assert_eq!(verdict(&engine, &told, "fs.write", &precious), Allow);
        let approved = Situation { approved: true, ..reason() };
        let decision = decide(&engine, &agent(), "service.restart", &service("web"), &approved);
        assert_eq!(decision.verdict == Allow, level >= Autonomy::Confirm, "{level:?}");
    }
}

#[test]
fn an_exception_counts_for_its_tools_targets_and_times() {
    let engine = engine(
        "autonomy = \"confirm\"\n[[exceptions]]\ntools = [\"service.restart\"]\ntargets = [\"service web\"]\n\
         days = [\"fri\"]\nwindow = \"22:00-06:00\"\nautonomy = \"auto-full\"\n\
         [[exceptions]]\ntools = [\"fs.*\"]\ntargets = [\"/data/www\"]\nautonomy = \"auto-safe\"\n",
    );
    let at = |day, hour: u16| Situation { moment: Moment { day, minute: hour * 60 }, ..reason() };
    let restart =
        |name: &str, when: Situation| decide(&engine, &agent(), "service.restart", &service(name), &when);
    let table = [(4, 21, false), (4, 22, true), (5, 5, true), (5, 6, false), (5, 23, false), (4, 3, false)];
    for (day, hour, allowed) in table {
        let decision = restart("web", at(day, hour));
        assert_eq!(decision.verdict == Verdict::Allow, allowed, "day {day}, {hour} h");
        assert_eq!(decision.exception, allowed.then_some(0));
        assert_eq!(restart("other", at(day, hour)).verdict, Verdict::Ask);
    }
    let write = |path: &str| verdict(&engine, &agent(), "fs.write", &file(path, Area::Open));
    assert_eq!(write("/data/www/index.html"), Verdict::Allow);
    assert_eq!(write("/data/wwwx"), Verdict::Ask);
    // Before the target is known, it might be the one.
    let request = |situation| {
        engine.might(&Request {
            subject: &agent(),
            action: "service.restart",
            object: &Object::Any,
            situation,
        })
    };
    assert_eq!(request(&at(0, 12)).verdict, Verdict::Allow);
}

#[test]
fn rules_of_ones_own_allow_more_to_a_role_and_forbid_more_to_all() {
    let engine = engine(
        "rules = '''\n@id(\"web team\")\npermit (principal in Role::\"viewer\", action == Action::\"fs.write\", resource in \
         Directory::\"/data/www\");\n@id(\"night\")\n@says(\"nothing is restarted on weekdays at noon\")\nforbid (principal, action \
         == Action::\"service.restart\", resource) when { context.minute >= 720 && context.minute < 780 && context.weekday < 6 };\n'''",
    );
    let write = |path: &str| verdict(&engine, &person(Role::Viewer), "fs.write", &file(path, Area::Open));
    assert_eq!((write("/data/www/a/b"), write("/data/x")), (Verdict::Allow, Verdict::Deny));
    let request = |action| {
        let situation = reason();
        let subject = person(Role::Viewer);
        engine
            .might(&Request { subject: &subject, action, object: &Object::Any, situation: &situation })
            .verdict
    };
    assert_eq!((request("fs.write"), request("process.kill")), (Verdict::Allow, Verdict::Deny));
    let noon = |day| Situation { moment: Moment { day, minute: 750 }, ..reason() };
    let restart = |day| decide(&engine, &person(Role::Admin), "service.restart", &service("web"), &noon(day));
    assert_eq!(restart(5).verdict, Verdict::Allow);
    let refused = restart(4);
    assert_eq!(refused.verdict, Verdict::Deny);
    assert_eq!(refused.reasons[0].rule, "own rule night");
    assert_eq!(refused.reasons[0].says.as_deref(), Some("nothing is restarted on weekdays at noon"));
}

#[test]
fn a_document_that_does_not_fit_is_refused_with_place_and_cure() {
    let table = [
        ("autonomy = \"full\"", "line 1: unknown variant `full`"),
        ("\nautonomi = \"confirm\"", "line 2: unknown field `autonomi`"),
        (
            "[[exceptions]]\nautonomy = \"confirm\"\ntools = [\n\"fs.wrote\"]",
            "line 4: there is no tool `fs.wrote`; write `family.verb`",
        ),
        (
            "[[exceptions]]\nautonomy = \"confirm\"\ntools = [\"*\"]\nwindow = \"22-6\"",
            "line 4: `22-6` is no span of the day; write it as \"22:00-06:00\"",
        ),
        ("protected = [\"console\"]", "`console` names no target; write an absolute path"),
        ("rules = '''\npermit (principal, action, resource) when { principal.nam == 1 };'''", "nam"),
        ("rules = '''permit (principal, action == Action::\"fs.wrote\", resource);'''", "fs.wrote"),
        ("rules = '''\n\nforbid (principal action);'''", "rules: line 2 of them: "),
        ("rules = '''permit (principal == ?principal, action, resource);'''", "a rule has slots"),
        (
            "[[exceptions]]\nautonomy = \"auto-full\"\ntools = [\"process.kill\"]",
            "process.kill cannot be taken back: an exception that lets the agent call it alone must name its targets",
        ),
        ("[limits.agent]\nchanges = 100000", "limits.agent: 100000 changes a minute are no bound"),
        ("[limits.people]\nchanges = 0", "limits.people: without any change nobody could set this right"),
        ("rules = '''@id(\"all\") permit (principal, action, resource);'''", "own rule all allows viewers "),
        (
            "rules = '''@id(\"a\") forbid (principal, action, resource) when {false};\n@id(\"a\") forbid (principal, action, \
          resource) when {false};'''",
            "give each rule an @id",
        ),
    ];
    for (text, part) in table {
        let error = refusal(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_document_that_would_lock_out_its_author_is_refused() {
    let needs = [
        ("policy.set", Object::Named(Kind::Policy, "own".into())),
        ("fs.read", file("/etc/os-release", Area::Fixed)),
    ];
    let admin = person(Role::Admin);
    let author = Author { subject: &admin, needs: &needs };
    assert_eq!(engine("").keeps(&author), Ok(()));
    let table = [
        ("forbid (principal, action == Action::\"policy.set\", resource);", "policy.set would be refused"),
        (
            "@id(\"lunch\") forbid (principal, action in Action::\"of admins\", resource) when { context.minute == 725 && \
             context.weekday == 3 };",
            "policy.set would be refused on Wednesday at 12:05 UTC (own rule lunch)",
        ),
        (
            "forbid (principal, action == Action::\"policy.set\", resource) when { context.minute * 2 == 1000 };",
            "policy.set would be refused on Monday at 08:20 UTC",
        ),
        ("forbid (principal, action == Action::\"undo\", resource);", "undo would be refused"),
        ("forbid (principal == Person::\"ada\", action, resource);", "policy.set would be refused"),
        (
            "forbid (principal, action in Action::\"change\", resource) when { context.changes > 100 };",
            "policy.set would be refused",
        ),
    ];
    for (rule, part) in table {
        let error = engine(&format!("rules = '''{rule}'''")).keeps(&author).expect_err(rule);
        assert!(error.contains(part), "{rule}: {error}");
    }
    let agent_only = "rules = '''forbid (principal, action, resource) when { principal.alone };'''";
    assert_eq!(engine(agent_only).keeps(&author), Ok(()));
}

#[test]
fn limits_hold_for_each_and_not_for_taking_back() {
    let engine = engine("[limits.agent]\nchanges = 3\ntargets = 2\nbytes = 100");
    let write = |changes, targets, bytes| {
        let situation = Situation { done: Count { changes, targets, bytes }, ..reason() };
        decide(&engine, &agent(), "fs.write", &file("/data/x", Area::Open), &situation).verdict
    };
    assert_eq!(write(2, 1, 100), Verdict::Allow);
    // A person's word does not help: it is a bound on harm.
    assert_eq!([write(3, 0, 0), write(0, 2, 0), write(0, 0, 101)], [Verdict::Deny; 3]);
    let many = Situation { done: Count { changes: 9, targets: 9, bytes: 999 }, ..reason() };
    assert_eq!(decide(&engine, &agent(), UNDO, &Object::Any, &many).verdict, Verdict::Allow);
    assert_eq!(
        verdict(&engine, &person(Role::Operator), "fs.write", &file("/data/x", Area::Open)),
        Verdict::Allow
    );
}

#[test]
fn the_minute_of_the_week_is_found() {
    // 2026-11-21 was a Saturday; 12:34:56 UTC.
    assert_eq!(Moment::at(1_795_264_496), Moment { day: 5, minute: 12 * 60 + 34 });
    assert_eq!(Moment::at(0), Moment { day: 3, minute: 0 });
}

static FULL: std::sync::LazyLock<Engine> = std::sync::LazyLock::new(|| engine("autonomy = \"auto-full\""));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", rules in ".{0,120}") {
        let _ = Engine::new(&ACTIONS, &text);
        let _ = Engine::new(&ACTIONS, &format!("rules = '''{rules}'''"));
    }

    #[test]
    fn nobody_below_the_role_changes_anything(pid in 1..70_000u32, name in "[a-z]{1,12}", at in 0..u64::from(u32::MAX)) {
        let situation = Situation { moment: Moment::at(at), approved: true, ..reason() };
        for object in [process(pid), service(&name), file(&format!("/data/{name}"), Area::Open)] {
            for action in ["fs.write", "service.restart", "process.kill", "policy.set", UNDO] {
                let decision = decide(&FULL, &person(Role::Viewer), action, &object, &situation);
                prop_assert_eq!(decision.verdict, Verdict::Deny);
            }
        }
    }
}
