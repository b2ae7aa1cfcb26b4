//! Commands: programs that may be run beside a service on request. What no service file names cannot be run.

use super::parse::{Fault, optional, plain, words};
use super::raw::RawCommand;
use super::values::duration;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

/// Commands of one service; more is a mistake.
const MOST: usize = 32;
/// A command that says nothing else has this long.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A program that may be run beside the service, the way the service itself is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it is called.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Program and arguments; never through a shell.
    pub exec: Vec<String>,
    /// What who asks may add to these.
    pub arguments: Arguments,
    /// Whether it may change something; that it does not is its author's promise.
    pub changes: bool,
    /// It is killed so long after its start.
    pub time_limit: Duration,
}

/// What who asks may add to the words of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments {
    /// Nothing.
    #[default]
    None,
    /// Whatever they like; the sandbox holds.
    Any,
}

/// Check the commands of a service.
pub(super) fn commands(
    raw: BTreeMap<Spanned<String>, RawCommand>,
    milestone: bool,
) -> Result<Vec<Command>, Fault> {
    let count = raw.len();
    let one = |(index, (name, raw)): (usize, (Spanned<String>, RawCommand))| {
        let at = name.span().start;
        let name = name.into_inner();
        if milestone {
            return Err((at, "a milestone has no program, and no commands; remove this section".to_owned()));
        }
        if index >= MOST {
            return Err((at, format!("{count} commands are more than {MOST}; remove some")));
        }
        if !plain(&name) {
            let what = format!("\"{name}\" is no name for a command; use up to 48 of a-z, 0-9, - and _");
            return Err((at, what));
        }
        Ok(Command {
            name,
            description: raw.description,
            exec: words(raw.exec)?,
            arguments: raw.arguments,
            changes: raw.changes.unwrap_or(true),
            time_limit: optional(raw.time_limit, duration)?.unwrap_or(TIME_LIMIT),
        })
    };
    raw.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Unit, Users, parse};
    use std::path::Path;

    fn read(more: &str) -> Result<Unit, String> {
        let users = Users::parse("web:x:5:6::/:\n", "");
        let text = format!("description = \"d\"\nexec = [\"/bin/true\"]\nuser = \"web\"\n{more}");
        parse(Path::new("/x/web.toml"), &text, &users)
    }

    #[test]
    fn a_command_is_careful_unless_it_says_otherwise() {
        let unit = read("[commands.test]\ndescription = \"t\"\nexec = [\"/usr/bin/web\", \"-t\"]\n");
        let unit = unit.expect("is valid");
        let [command] = unit.commands.as_slice() else { panic!("one command") };
        assert_eq!((command.name.as_str(), command.exec.len()), ("test", 2));
        assert!(command.changes && command.arguments == Arguments::None && command.time_limit == TIME_LIMIT);
    }

    #[test]
    fn a_command_that_cannot_be_is_named_with_its_line() {
        let cases = [
            ("[commands.Test]\ndescription = \"t\"\nexec = [\"/x\"]", "web.toml:4: \"Test\" is no name"),
            ("[commands.t]\ndescription = \"t\"\nexec = [\"x\"]", "web.toml:6: exec must begin with"),
            ("[commands.t]\ndescription = \"t\"\nexec = []", "web.toml:6: exec must begin with"),
            (
                "[commands.t]\ndescription = \"t\"\nexec = [\"/x\", \"\\u0000\"]",
                "web.toml:6: exec holds a NUL",
            ),
            ("[commands.t]\nexec = [\"/x\"]", "missing field `description`"),
            ("[commands.t]\ndescription = \"t\"\nexec = [\"/x\"]\nshell = true", "unknown field `shell`"),
            ("[commands.t]\ndescription = \"t\"\nexec = [\"/x\"]\ntime_limit = \"2d\"", "is not a duration"),
        ];
        for (more, expected) in cases {
            let said = read(more).expect_err(more);
            assert!(said.contains(expected), "{more}: {said}");
        }
        let many: String =
            (0..=MOST).map(|n| format!("[commands.c{n}]\ndescription = \"t\"\nexec = [\"/x\"]\n")).collect();
        assert!(read(&many).expect_err("too many").contains("more than 32"));
        let text =
            "description = \"d\"\nkind = \"milestone\"\n[commands.t]\ndescription = \"t\"\nexec = [\"/x\"]";
        let said = parse(Path::new("/x/all.toml"), text, &Users::default()).expect_err("a milestone");
        assert!(said.contains("has no program, and no commands"), "{said}");
    }
}
