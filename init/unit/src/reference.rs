//! The reference page, `SERVICE-FILES.md`: made from the types of [`super::raw`], their comments, and from
//! what the parser says and does. Nothing on it is written twice, so nothing on it can be out of date.

use super::{Unit, Users, instances, parse, parse_instance, signal_name};
use std::path::Path;
use std::time::Duration;
use syn::{Attribute, Expr, Field, GenericArgument, Item, Lit, Meta, PathArguments, Type};
use toml::{Table, Value};

/// Set to write the page anew.
const RENEW: &str = "RENEW_REFERENCE";
const HOW: &str = "RENEW_REFERENCE=1 cargo test --release -p aios-unit reference";
/// Sections of the file in the order of the page, and their types.
const SECTIONS: [(&str, &str); 7] = [
    ("", "Raw"),
    ("socket", "RawSocket"),
    ("open", "RawOpen"),
    ("timer", "RawTimer"),
    ("commands", "RawCommand"),
    ("resources", "RawResources"),
    ("sandbox", "RawSandbox"),
];
/// The section whose keys are the author's.
const FREE: &str = "environment";
/// Whole files, shown and parsed.
const FILES: [(&str, &str, &str); 3] = [
    ("web.toml", "A daemon behind a socket", include_str!("../examples/web.toml")),
    ("backup.toml", "Work that is done every night", include_str!("../examples/backup.toml")),
    ("worker@.toml", "A template with two instances", include_str!("../examples/worker@.toml")),
];

/// One key, as its type and the comment on it have it.
struct Key {
    section: &'static str,
    name: String,
    text: String,
    /// What stands in its example's code spans: `key = value`, then what has to be there as well.
    example: Vec<String>,
    /// The last word of its type: `Size`, `u32`, `bool`.
    word: String,
    list: bool,
    /// It is a section of its own.
    table: bool,
    optional: bool,
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The innermost type, and whether it is one of many and need not be there.
fn innermost(of: &Type) -> (String, bool, bool) {
    let Type::Path(path) = of else { panic!("a field has a type that the reference cannot show") };
    let last = path.path.segments.last().expect("a type has a name");
    let inner = match &last.arguments {
        PathArguments::AngleBracketed(arguments) => arguments.args.last(),
        _ => None,
    };
    let Some(GenericArgument::Type(inner)) = inner else { return (last.ident.to_string(), false, false) };
    let (word, list, optional) = innermost(inner);
    match last.ident.to_string().as_str() {
        "Vec" => (word, true, optional),
        "Option" => (word, list, true),
        _ => (word, list, optional),
    }
}

fn key(section: &'static str, field: &Field) -> Key {
    let (word, list, optional) = innermost(&field.ty);
    let text = documentation(&field.attrs);
    let (text, example) = text.split_once("Example: ").unwrap_or((&text, ""));
    let name = field.ident.as_ref().expect("a named field").to_string();
    Key {
        table: name == FREE || SECTIONS.iter().any(|(_, of)| *of == word),
        // Everything that serde may leave out is marked with `default`.
        optional: optional || field.attrs.iter().any(|attribute| attribute.path().is_ident("serde")),
        text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        example: example.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        section,
        name,
        word,
        list,
    }
}

/// What the types say: what a file is, keys of each section, and the kinds of value.
struct Types {
    text: String,
    sections: Vec<(&'static str, Vec<Key>)>,
    kinds: Vec<(String, String)>,
}

fn types() -> Types {
    let source = syn::parse_file(include_str!("raw.rs")).expect("is Rust");
    let structure = |wanted: &str| {
        let mut items = source.items.iter();
        let found = items.find_map(|item| match item {
            Item::Struct(item) if item.ident == wanted => Some(item),
            _ => None,
        });
        found.expect("the type of each section")
    };
    let sections = SECTIONS.map(|(heading, name)| {
        (heading, structure(name).fields.iter().map(|field| key(heading, field)).collect())
    });
    let kinds = source.items.iter().filter_map(|item| match item {
        Item::Type(item) => Some((words(&item.ident.to_string()), documentation(&item.attrs))),
        _ => None,
    });
    Types { text: documentation(&structure("Raw").attrs), sections: sections.into(), kinds: kinds.collect() }
}

/// `FileMode` as `file mode`.
fn words(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(c.to_lowercase());
    }
    text
}

fn users() -> Users {
    Users::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image/board/rootfs"))
}

/// The least file that a key of this section can stand in.
fn least(section: &str) -> Table {
    let mut file: Table =
        toml::from_str("description = \"d\"\nexec = [\"/usr/bin/web\"]\nuser = \"root\"").expect("is TOML");
    if section == "timer" {
        file.insert("kind".into(), "oneshot".into());
    }
    file
}

/// A file with these lines in this section.
fn file(section: &str, lines: &[&str]) -> String {
    let mut inner: Table = toml::from_str(&lines.join("\n")).expect("examples are TOML");
    let mut file = least(section);
    match section {
        "" => file.extend(inner),
        "socket" | "open" => {
            inner.entry("name").or_insert("a".into());
            file.insert(section.into(), Value::Array(vec![inner.into()]));
        }
        "commands" => {
            inner.entry("description").or_insert("d".into());
            inner.entry("exec").or_insert(Value::Array(vec!["/usr/bin/web".into()]));
            file.insert(section.into(), Table::from_iter([("check".to_owned(), inner.into())]).into());
        }
        _ => {
            file.insert(section.into(), inner.into());
        }
    }
    toml::to_string(&file).expect("is written")
}

fn read(text: &str) -> Result<Unit, String> {
    parse(Path::new("web.toml"), text, &users())
}

impl Key {
    /// A valid file with its example; with another value when one is given.
    fn file(&self, value: Option<&str>) -> String {
        let other = value.map(|value| format!("{} = {value}", self.name));
        let lines = self.example.iter().enumerate().map(|(index, line)| match &other {
            Some(other) if index == 0 => other.as_str(),
            _ => line.as_str(),
        });
        file(self.section, &lines.collect::<Vec<_>>())
    }

    /// What the parser says to a value that it cannot take.
    fn refusal(&self, value: &str) -> String {
        read(&self.file(Some(value))).expect_err(&self.name)
    }

    /// What may be written there; the parser is asked.
    fn values(&self, kinds: &[(String, String)]) -> String {
        let one = match self.word.as_str() {
            "bool" => "`true` or `false`".into(),
            "String" if self.name == "user" => "user".into(),
            "String" => "text".into(),
            "u32" | "i32" => {
                let most = if self.word == "u32" { u32::MAX.to_string() } else { i32::MAX.to_string() };
                let said = self.refusal(&most);
                let (_, range) = said.split_once("write a number from ").expect("numbers have a range");
                format!("a number, {}", range.replace(" to ", "–"))
            }
            word if kinds.iter().any(|(kind, _)| *kind == words(word)) => words(word),
            _ => {
                let said = self.refusal(if self.list { "[\"?\"]" } else { "\"?\"" });
                said.split('`')
                    .skip(3)
                    .step_by(2)
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
        };
        if self.list { format!("list: {one}") } else { one }
    }

    /// Whether a file without it is refused.
    fn required(&self) -> bool {
        let mut least = least(self.section);
        least.remove(&self.name);
        !self.optional
            || self.section.is_empty() && read(&toml::to_string(&least).expect("is written")).is_err()
    }

    /// What holds without it, as it would be written; the parser is asked. Nothing for what is absent then.
    fn default(&self) -> Option<String> {
        let unit = read(&file(self.section, &self.companions())).ok()?;
        let word = |value: &dyn std::fmt::Debug| format!("\"{}\"", words(&format!("{value:?}")));
        let span = |value: Duration| format!("\"{}s\"", value.as_secs());
        Some(match (self.section, self.name.as_str()) {
            ("", "kind") => word(&unit.kind),
            ("", "start") => word(&unit.start),
            ("", "ready") => word(&unit.ready),
            ("", "start_timeout") => span(unit.start_timeout),
            ("", "stop_timeout") => span(unit.stop_timeout),
            ("", "stop_signal") => format!("\"{}\"", signal_name(unit.stop_signal)),
            ("socket", "mode") => format!("\"{:04o}\"", unit.sockets.first()?.mode),
            ("open", "access") => word(&unit.open.first()?.access).replace(' ', "-"),
            ("commands", "arguments") => word(&unit.commands.first()?.arguments),
            ("commands", "changes") => unit.commands.first()?.changes.to_string(),
            ("commands", "time_limit") => span(unit.commands.first()?.time_limit),
            ("timer", "catch_up") => unit.timer?.catch_up.to_string(),
            ("resources", "oom_score") => unit.resources.oom_score.to_string(),
            ("resources", "delegate") => unit.resources.delegate.to_string(),
            ("resources", "nice") => unit.resources.nice.to_string(),
            ("sandbox", "network") => unit.sandbox.network.to_string(),
            ("sandbox", "private_tmp") => unit.sandbox.private_tmp.to_string(),
            ("sandbox", "sees_processes") => unit.sandbox.sees_processes.to_string(),
            ("sandbox", "write_execute") => unit.sandbox.write_execute.to_string(),
            ("sandbox", "privileged") => unit.sandbox.privileged.to_string(),
            ("sandbox", "families") => {
                let names: Vec<String> = unit.sandbox.families.iter().map(|family| word(family)).collect();
                format!("[{}]", names.join(", "))
            }
            _ => return None,
        })
    }

    fn companions(&self) -> Vec<&str> {
        self.example.iter().skip(1).map(String::as_str).collect()
    }
}

fn heading(section: &str) -> String {
    match section {
        "" => "## Keys at the top".into(),
        "socket" | "open" => format!("## `[[{section}]]`"),
        "commands" => "## `[commands.NAME]`".into(),
        _ => format!("## `[{section}]`"),
    }
}

fn page() -> String {
    let Types { text, sections, kinds } = types();
    let mut page = format!("# Service files\n\n{text}\n\n");
    for (name, what, text) in FILES {
        page += &format!("{what}, `{name}`:\n```toml\n{text}```\n\n");
    }
    page += "## Kinds of value\n\n| kind | how it is written |\n|---|---|\n";
    for (kind, text) in &kinds {
        page += &format!("| {kind} | {} |\n", text.replace('\n', " "));
    }
    for (section, keys) in &sections {
        page += &format!("\n{}\n\n", heading(section));
        let top = sections
            .iter()
            .flat_map(|(_, keys)| keys)
            .find(|key| key.section.is_empty() && key.name == *section);
        if let Some(top) = top {
            page += &format!("{}\n\n", top.text);
        }
        page += "| key | what it means | value | without it | example |\n|---|---|---|---|---|\n";
        for key in keys.iter().filter(|key| !key.table) {
            let default = match key.default() {
                _ if key.required() => "**refused**".into(),
                Some(default) => format!("`{default}`"),
                None => "–".into(),
            };
            let (first, with) = key.example.split_first().expect(&key.name);
            let with = if with.is_empty() { String::new() } else { format!(" with `{}`", with.join("`, `")) };
            let (name, values) = (&key.name, key.values(&kinds));
            page += &format!("| `{name}` | {} | {values} | {default} | `{first}`{with} |\n", key.text);
        }
        for key in keys.iter().filter(|key| key.name == FREE) {
            page += &format!("\n## `[{}]`\n\n{} Example: `{}`.\n", key.name, key.text, key.example[0]);
        }
    }
    page + &format!("\n---\nThis page is made from `src/raw.rs`: `{HOW}`.\n")
}

#[test]
fn the_reference_page_is_that_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("SERVICE-FILES.md");
    let page = page();
    if std::env::var_os(RENEW).is_some() {
        std::fs::write(&file, &page).expect("the page is written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == page, "init/unit/SERVICE-FILES.md is not what the types say; make it anew with: {HOW}");
}

#[test]
fn every_example_of_the_reference_is_valid() {
    for key in types().sections.iter().flat_map(|(_, keys)| keys) {
        let text = match key.name.as_str() {
            FREE => file(FREE, &[&key.example[0]]),
            _ if key.table => continue,
            _ => key.file(None),
        };
        match key.name.as_str() {
            "instances" => {
                assert_eq!(instances(Path::new("web@.toml"), &text).expect("is valid"), ["a", "b"])
            }
            name => assert!(read(&text).is_ok(), "{name}: {:?}", read(&text)),
        }
    }
    for (name, _, text) in FILES {
        let file = Path::new(name);
        if name.contains('@') {
            for instance in instances(file, text).expect("is valid") {
                parse_instance(file, text, &instance, &users()).expect("is valid");
            }
        } else {
            parse(file, text, &users()).expect("is valid");
        }
    }
}

#[test]
fn to_write_a_default_out_changes_nothing() {
    for key in types().sections.iter().flat_map(|(_, keys)| keys) {
        let Some(default) = key.default() else { continue };
        let without = read(&file(key.section, &key.companions())).expect("is valid");
        assert_eq!(read(&key.file(Some(&default))), Ok(without), "{}", key.name);
    }
}

#[test]
fn the_reference_has_all_keys_that_the_parser_knows() {
    for (section, keys) in types().sections {
        let said = read(&file(section, &["\"?\" = 1"])).expect_err("an unknown key");
        let known: Vec<&str> = said.split('`').skip(3).step_by(2).collect();
        let shown: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(shown, known, "[{section}]");
    }
}
