//! `fs.find`

use super::shared::{Kind, mode_text, modified};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use crate::tool::process::shared::human_bytes;
use crate::walk::walk;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::{FileType, Stat};
use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;

/// Entries in one answer.
const MAX: u32 = 1_000;
/// Entries that are kept while it searches.
const MAX_FOUND: usize = 50_000;
/// Characters of a pattern.
const MAX_PATTERN: usize = 255;

/// Find files below a directory. What is said must all be true; without anything everything is found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Absolute path of the directory.
    path: String,
    /// The name, where `*` stands for any characters and `?` for one; upper and lower case are the same.
    #[serde(default)]
    name: Option<String>,
    /// What kind of thing it is.
    #[serde(default)]
    kind: Option<Wanted>,
    /// At least this many bytes.
    #[serde(default)]
    min_bytes: u64,
    /// At most this many bytes.
    #[serde(default)]
    max_bytes: Option<u64>,
    /// Changed within the last so many minutes.
    #[serde(default)]
    within_minutes: Option<u32>,
    /// Not changed for at least so many minutes.
    #[serde(default)]
    older_minutes: Option<u32>,
    /// At most this many levels of directories below the one named.
    #[serde(default = "default_depth")]
    #[schemars(range(min = 1, max = 100))]
    depth: u32,
    /// What comes first.
    #[serde(default)]
    sort: Sort,
    /// At most this many.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_depth() -> u32 {
    100
}

fn default_limit() -> u32 {
    100
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, pipe or device.
    Other,
}

impl Wanted {
    fn is(self, kind: Kind) -> bool {
        matches!(
            (self, kind),
            (Self::File, Kind::File)
                | (Self::Directory, Kind::Directory)
                | (Self::Link, Kind::Link)
                | (Self::Other, Kind::Other)
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    /// By path.
    #[default]
    Path,
    /// The largest first.
    Size,
    /// What was changed last first.
    Newest,
    /// What has not been changed for the longest time first.
    Oldest,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Matches {
    /// The directory's real path.
    path: String,
    /// What fits, in the order asked for.
    entries: Vec<Match>,
    /// How many fit in all.
    total: u64,
    /// Bytes that all regular files among them have together.
    bytes: u64,
    /// Names that were looked at.
    looked_at: u64,
    /// There are more than are listed, or not all could be looked at.
    truncated: bool,
}

/// One thing that fits.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Match {
    /// Absolute path; bytes that are no UTF-8 are replaced.
    path: String,
    /// What it is.
    kind: Kind,
    /// Bytes.
    size: u64,
    /// Permission bits, such as `0644`.
    mode: String,
    /// Owner's user id.
    uid: u32,
    /// When the content was last changed, RFC 3339.
    modified: String,
    /// The same as a number, for sorting.
    #[serde(skip)]
    time: (i64, u64),
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 110,
    name: "fs.find",
    summary: "Find files by name, size, age or kind below a directory",
    effect: Effect::Read,
    touches: &["names and facts of the files below the directory"],
    role: Role::Viewer,
    timeout_ms: 20_000,
    examples: &[
        ("find all files named *.log in /data", r#"{"path":"/data","name":"*.log"}"#),
        (
            "which files below /data are larger than 100 MB?",
            r#"{"path":"/data","kind":"file","min_bytes":100000000,"sort":"size"}"#,
        ),
        ("where is the file os-release below /etc?", r#"{"path":"/etc","name":"os-release"}"#),
        (
            "what was changed in /data in the last hour?",
            r#"{"path":"/data","kind":"file","within_minutes":60,"sort":"newest"}"#,
        ),
        ("find /tmp -type d", r#"{"path":"/tmp","kind":"directory"}"#),
        (
            "search /data/work for files that nobody has changed for 30 days",
            r#"{"path":"/data/work","kind":"file","older_minutes":43200,"sort":"oldest"}"#,
        ),
        ("are there empty files in /data/inbox?", r#"{"path":"/data/inbox","kind":"file","max_bytes":0}"#),
    ],
    needs: Needs::NOTHING.capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::List, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Matches, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} entries")));
    }
    if args.depth == 0 {
        return Err(CallError::invalid("`depth` must be at least 1"));
    }
    let pattern: Option<Vec<char>> = args.name.as_deref().map(|name| name.to_lowercase().chars().collect());
    if pattern.as_ref().is_some_and(|pattern| pattern.is_empty() || pattern.len() > MAX_PATTERN) {
        return Err(CallError::invalid(format!("`name` must have 1 to {MAX_PATTERN} characters")));
    }
    let found = file::find(&args.path, true)?;
    ctx.may_see(&found.path)?;
    if found.kind() != FileType::Directory {
        return Err(CallError::invalid(format!("{} is not a directory", found.path.display())));
    }
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    let (mut entries, mut total, mut bytes) = (Vec::new(), 0, 0);
    let walked = walk(ctx, &found, args.depth, |path, stat| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let named = pattern.as_ref().is_none_or(|pattern| fits(pattern, &name.chars().collect::<Vec<_>>()));
        if !named || !wanted(&args, stat, now) {
            return;
        }
        total += 1;
        let kind = Kind::from(FileType::from_raw_mode(stat.st_mode));
        let size = stat.st_size.cast_unsigned();
        bytes += if kind == Kind::File { size } else { 0 };
        if entries.len() < MAX_FOUND {
            entries.push(Match {
                path: path.display().to_string(),
                kind,
                size,
                mode: mode_text(stat.st_mode),
                uid: stat.st_uid,
                modified: modified(stat),
                time: (stat.st_mtime, stat.st_mtime_nsec),
            });
        }
    })?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    match args.sort {
        Sort::Path => {}
        Sort::Size => entries.sort_by_key(|entry| Reverse(entry.size)),
        Sort::Newest => entries.sort_by_key(|entry| Reverse(entry.time)),
        Sort::Oldest => entries.sort_by_key(|entry| entry.time),
    }
    entries.truncate(args.limit as usize);
    Ok(Matches {
        path: found.path.display().to_string(),
        truncated: walked.truncated || total > entries.len() as u64,
        total,
        bytes,
        looked_at: walked.seen,
        entries,
    })
}

fn wanted(args: &Args, stat: &Stat, now: i64) -> bool {
    let size = stat.st_size.cast_unsigned();
    // A file of the future is new.
    let age = now.saturating_sub(stat.st_mtime);
    let seconds = |minutes: u32| i64::from(minutes) * 60;
    args.kind.is_none_or(|wanted| wanted.is(FileType::from_raw_mode(stat.st_mode).into()))
        && size >= args.min_bytes
        && args.max_bytes.is_none_or(|most| size <= most)
        && args.within_minutes.is_none_or(|minutes| age <= seconds(minutes))
        && args.older_minutes.is_none_or(|minutes| age >= seconds(minutes))
}

/// Whether a name fits a pattern: on a mismatch the last `*` takes one character more.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = name.get(n) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|letter| *letter == '*'))
}

fn summary(found: &Matches) -> String {
    let first = found.entries.first().map(|entry| match entry.kind {
        Kind::File => format!(", first {} ({})", entry.path, human_bytes(entry.size)),
        _ => format!(", first {}", entry.path),
    });
    let files = if found.total == 1 { "1 fits".into() } else { format!("{} fit", found.total) };
    let part = if found.truncated { "; not all is shown" } else { "" };
    format!("{files} below {}{}{part}", found.path, first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(pattern: &str, name: &str) -> bool {
        fits(&pattern.chars().collect::<Vec<_>>(), &name.chars().collect::<Vec<_>>())
    }

    #[test]
    fn stars_and_question_marks_stand_for_what_they_always_stand_for() {
        for (pattern, name) in
            [("*.log", "a.log"), ("*", ""), ("a?c", "abc"), ("*b*c", "abbcbc"), ("a**b", "ab")]
        {
            assert!(told(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.log", "a.logs"), ("", "a"), ("a?c", "ac"), ("*b*c", "abcb"), ("?", "")] {
            assert!(!told(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        /// What is right by definition: try every length for every star.
        #[test]
        fn a_pattern_fits_what_the_definition_says(pattern in "[ab*?]{0,7}", name in "[ab]{0,9}") {
            fn defined(pattern: &[char], name: &[char]) -> bool {
                match (pattern, name) {
                    ([], []) => true,
                    (['*', rest @ ..], _) => (0..=name.len()).any(|taken| defined(rest, &name[taken..])),
                    (['?', pattern @ ..], [_, name @ ..]) => defined(pattern, name),
                    ([one, pattern @ ..], [other, name @ ..]) if one == other => defined(pattern, name),
                    _ => false,
                }
            }
            let of = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(told(&pattern, &name), defined(&of(&pattern), &of(&name)));
        }
    }
}
