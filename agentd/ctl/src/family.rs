//! The machine's tools as commands: `aiosctl fs read /etc/hosts`. Families, verbs, flags, their values and their help are
//! those of the machine's own list, which is kept here from the last time it was seen; so the command line is also
//! completed and explained where the machine is not. A command made so is a [`Call`] in other words.

use crate::args::{self, Argument, Kind};
use crate::cli::{Call, Cli, Command as Ours, Tools};
use crate::config;
use crate::error::Outcome;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;

const WHY: &str = "why";
const KEY: &str = "idempotency_key";
const DRY_RUN: &str = "dry_run";

/// The whole grammar: our own commands, and those of these tools.
pub(crate) fn grammar(tools: &[Value]) -> Command {
    let mut families: BTreeMap<&str, Vec<(&str, &Value)>> = BTreeMap::new();
    for tool in tools {
        if let Some((family, verb)) = tool["name"].as_str().and_then(|name| name.split_once('.')) {
            families.entry(family).or_default().push((verb, tool));
        }
    }
    let mut grammar = Cli::command();
    for (family, verbs) in families {
        match grammar.find_subcommand(family).map(Command::get_name).map(str::to_owned) {
            // A word of ours keeps its meaning; the tools are called by `tools call` then.
            Some(own) if !takes_verbs(&grammar, &own) => {}
            Some(own) => grammar = grammar.mut_subcommand(own, |command| with_verbs(command, &verbs)),
            None => {
                let about = format!("Tools of the machine: {family}");
                let command = Command::new(family.to_owned()).about(about).subcommand_required(true);
                grammar = grammar.subcommand(with_verbs(command.arg_required_else_help(true), &verbs));
            }
        }
    }
    grammar
}

fn takes_verbs(grammar: &Command, family: &str) -> bool {
    grammar.find_subcommand(family).is_some_and(Command::has_subcommands)
}

fn with_verbs(mut family: Command, verbs: &[(&str, &Value)]) -> Command {
    for (name, tool) in verbs {
        if family.find_subcommand(name).is_none() {
            family = family.subcommand(verb(name, tool));
        }
    }
    family
}

fn verb(name: &str, tool: &Value) -> Command {
    let arguments = args::arguments(&tool["args_schema"]);
    let about = tool["summary"].as_str().unwrap_or_default().to_owned();
    let touches: Vec<&str> =
        tool["touches"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let more = format!(
        "{about}\n\nTouches {}. Needs the role {}.",
        touches.join(", "),
        tool["role"].as_str().unwrap_or("?")
    );
    let first = first(&arguments);
    let mut command = Command::new(name.to_owned()).about(about).long_about(more).after_help(examples(tool));
    for argument in &arguments {
        let node = &tool["args_schema"]["properties"][&argument.name];
        command = command.arg(arg(argument, node, first == Some(argument.name.as_str())));
    }
    if tool["effect"] != "read" {
        command = command
            .arg(Arg::new(WHY).long("why").value_name("REASON").help("The reason, for the audit log"))
            .arg(
                Arg::new(DRY_RUN)
                    .long("dry-run")
                    .action(ArgAction::SetTrue)
                    .help("Only say what would change"),
            )
            .arg(Arg::new(KEY).long("idempotency-key").value_name("KEY").help(
                "A name of your own for this request: sent again under it, the change is not made again",
            ));
    }
    command
}

/// The argument that stands without its name: the first text that must be given.
fn first(arguments: &[Argument]) -> Option<&str> {
    let plain =
        |argument: &&Argument| argument.required && matches!(argument.kind, Kind::Text | Kind::Choice(_));
    arguments.iter().find(plain).map(|argument| argument.name.as_str())
}

fn arg(argument: &Argument, node: &Value, positional: bool) -> Arg {
    let mut arg = Arg::new(argument.name.clone()).required(argument.required).help(help(argument, node));
    if !positional {
        arg = arg.long(argument.name.replace('_', "-"));
    }
    let (kind, several) = match &argument.kind {
        Kind::List(item) => (&**item, true),
        kind => (kind, false),
    };
    arg = match kind {
        Kind::Choice(choices) => arg.value_parser(PossibleValuesParser::new(choices.clone())),
        Kind::Boolean => arg
            .value_parser(["true", "false"])
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Integer | Kind::Number => arg.value_name("NUMBER").allow_negative_numbers(true),
        Kind::Json => arg.value_name("JSON"),
        Kind::Text | Kind::List(_) => arg,
    };
    arg.action(if several { ArgAction::Append } else { ArgAction::Set })
}

fn help(argument: &Argument, node: &Value) -> String {
    let default = match &node["default"] {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        value => format!(" [default: {}]", value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
    };
    format!("{}{default}", argument.help.replace('\n', " ").trim_end_matches('.'))
}

/// Sentences that people say, with the command that each of them means.
fn examples(tool: &Value) -> String {
    let examples = tool["examples"].as_array().map(Vec::as_slice).unwrap_or_default();
    let each = examples.iter().filter_map(|example| {
        let ask = example["ask"].as_str()?;
        Some(format!("\n  {}\n      {}", crate::output::clean_line(ask), line(tool, &example["args"])?))
    });
    let text: String = each.take(3).collect();
    if text.is_empty() { text } else { format!("Examples:{text}") }
}

/// The command that calls a tool with these arguments, if they can be written as flags.
fn line(tool: &Value, args: &Value) -> Option<String> {
    let name = tool["name"].as_str()?;
    let arguments = args::arguments(&tool["args_schema"]);
    let first = first(&arguments);
    let mut words: Vec<String> = vec!["aiosctl".into()];
    words.extend(name.split('.').map(str::to_owned));
    for (key, value) in args.as_object()? {
        let kind = &arguments.iter().find(|argument| argument.name == *key)?.kind;
        let values = match (kind, value) {
            (Kind::List(_), Value::Array(items)) => items.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let flag = format!("--{}", key.replace('_', "-"));
            match kind {
                _ if first == Some(key) => words.push(text),
                Kind::Boolean if text == "true" => words.push(flag),
                Kind::Boolean => words.push(format!("{flag}={text}")),
                _ => words.extend([flag, text]),
            }
        }
    }
    if tool["effect"] != "read" {
        words.extend(["--why".into(), "…".into()]);
    }
    Some(words.iter().map(|word| args::quoted(word)).collect::<Vec<_>>().join(" ").replace("'…'", "…"))
}

/// Read a command line with what is known of the tools.
pub(crate) fn parse(tools: &[Value], words: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = grammar(tools).try_get_matches_from(words)?;
    if let Some((family, rest)) = matches.subcommand()
        && let Some((verb, rest)) = rest.subcommand()
        && Cli::command().find_subcommand(family).and_then(|own| own.find_subcommand(verb)).is_none()
        && let name = format!("{family}.{verb}")
        && let Some(tool) = tools.iter().find(|tool| tool["name"] == name.as_str())
    {
        return Ok(Cli {
            json: rest.get_flag("json"),
            context: rest.get_one("context").cloned(),
            command: Ours::Tools(Tools::Call(call(name, tool, rest))),
        });
    }
    Cli::from_arg_matches(&matches)
}

fn call(name: String, tool: &Value, matches: &ArgMatches) -> Call {
    let mut words = Vec::new();
    for argument in args::arguments(&tool["args_schema"]) {
        let values = matches.get_many::<String>(&argument.name).into_iter().flatten();
        words.extend(values.map(|value| format!("{}={value}", argument.name)));
    }
    let changes = tool["effect"] != "read";
    let text = |name| if changes { matches.get_one::<String>(name).cloned() } else { None };
    Call {
        name,
        args: words,
        object: None,
        why: text(WHY),
        idempotency_key: text(KEY),
        dry_run: changes && matches.get_flag(DRY_RUN),
        asked: false,
    }
}

/// Whether a newer list of tools might make sense of what was refused.
pub(crate) fn may_be_out_of_date(error: &clap::Error, words: &[OsString]) -> bool {
    let unknown = matches!(
        error.kind(),
        ErrorKind::InvalidSubcommand
            | ErrorKind::UnknownArgument
            | ErrorKind::InvalidValue
            | ErrorKind::MissingRequiredArgument
    );
    let own = Cli::command();
    // A command of ours that has no verbs is complete without any machine.
    let ours = words.iter().skip(1).filter_map(|word| own.find_subcommand(word.to_str()?)).next();
    unknown && ours.is_none_or(|ours| ours.get_name() == "service")
}

/// The machine that the words name, before they are understood.
pub(crate) fn context(words: &[OsString]) -> Option<String> {
    let mut words = words.iter().skip(1).filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix("--context=") {
            return Some(name.to_owned());
        }
        if word == "--context" {
            return words.next().map(str::to_owned);
        }
    }
    None
}

/// The tools of a machine as they were seen last; none when they never were.
pub(crate) fn known(wanted: Option<&str>) -> Vec<Value> {
    let read = || {
        let config = config::Config::load().ok()?;
        let (name, _) = config.context(wanted).ok()?;
        serde_json::from_slice(&std::fs::read(config::cache(name).ok()?).ok()?).ok()
    };
    read().unwrap_or_default()
}

/// Keep the list for the next time; a place that cannot be written only costs completions.
pub(crate) fn keep(context: &str, list: &Value) -> Outcome {
    config::write_whole(&config::cache(context)?, &list.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools() -> Vec<Value> {
        let restart = json!({
            "name": "service.restart", "summary": "Restart a service", "effect": "irreversible", "role": "operator",
            "touches": ["the service named"], "examples": [{"ask": "restart netd", "args": {"name": "netd"}}],
            "args_schema": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
        });
        let find = json!({
            "name": "fs.find", "summary": "Find files", "effect": "read", "role": "viewer",
            "touches": ["names of files"], "examples": [{"ask": "x", "args": {"path": "/a b", "hidden_too": true}}],
            "args_schema": {"type": "object", "required": ["path", "depth"], "properties": {
                "depth": {"type": "integer", "description": "How deep."},
                "path": {"type": "string", "description": "Where"},
                "kind": {"enum": ["file", "directory"], "default": "file"},
                "hidden_too": {"type": "boolean"},
                "name": {"type": "array", "items": {"type": "string"}}
            }}
        });
        let ask =
            json!({"name": "ask.me", "summary": "A", "effect": "read", "args_schema": {"type": "object"}});
        vec![restart, find, ask]
    }

    fn read(words: &[&str]) -> Result<Cli, clap::Error> {
        let words: Vec<OsString> = ["aiosctl"].iter().chain(words).map(OsString::from).collect();
        parse(&tools(), &words)
    }

    fn called(words: &[&str]) -> Call {
        match read(words).map(|cli| cli.command) {
            Ok(Ours::Tools(Tools::Call(call))) => call,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn the_grammar_is_sound_with_tools_in_it() {
        grammar(&tools()).debug_assert();
        grammar(&[json!(7), json!({"name": "nofamily"}), json!({"name": "a.b"})]).debug_assert();
    }

    #[test]
    fn a_tool_is_called_as_its_schema_says() {
        let call = called(&["service", "restart", "netd", "--why", "it hangs", "--dry-run"]);
        assert_eq!(
            (call.name.as_str(), call.args.as_slice()),
            ("service.restart", &["name=netd".to_owned()][..])
        );
        assert_eq!((call.why.as_deref(), call.dry_run), (Some("it hangs"), true));
        let call =
            called(&["fs", "find", "--depth", "-1", "/etc", "--name", "a", "--hidden-too", "--name", "b"]);
        assert_eq!(call.args, ["depth=-1", "path=/etc", "hidden_too=true", "name=a", "name=b"]);
        assert_eq!(
            called(&["fs", "find", "/x", "--depth=1", "--hidden-too=false"]).args[2],
            "hidden_too=false"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_sent() {
        for wrong in [
            &["fs", "find", "/etc"][..],
            &["fs", "find", "--depth", "1"],
            &["fs", "find", "/etc", "--depth", "1", "--kind", "door"],
            &["fs", "find", "/etc", "--depth", "1", "--why", "x"],
            &["fs", "fly"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn our_own_words_keep_their_meaning() {
        assert!(matches!(read(&["ask", "me"]).map(|cli| cli.command), Ok(Ours::Ask { .. })));
        assert!(matches!(read(&["services", "list"]).map(|cli| cli.command), Ok(Ours::Service(_))));
        let cli = read(&["fs", "find", "/", "--depth", "0", "--json", "--context", "box"]).expect("read");
        assert!(cli.json && cli.context.as_deref() == Some("box"));
    }

    #[test]
    fn the_machine_is_known_before_the_words_are() {
        let of = |words: &[&str]| context(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(of(&["aiosctl", "fs", "read", "--context", "box"]).as_deref(), Some("box"));
        assert_eq!(of(&["aiosctl", "--context=box", "x"]).as_deref(), Some("box"));
        assert_eq!(of(&["aiosctl", "ask", "--", "--context", "box"]), None);
    }

    #[test]
    fn an_example_is_shown_as_the_command_that_it_means() {
        let tools = tools();
        let of = |index: usize| line(&tools[index], &tools[index]["examples"][0]["args"]);
        assert_eq!(of(0).as_deref(), Some("aiosctl service restart netd --why …"));
        assert_eq!(of(1).as_deref(), Some("aiosctl fs find '/a b' --hidden-too"));
    }
}
