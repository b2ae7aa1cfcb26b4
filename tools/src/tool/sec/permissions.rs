//! `sec.permissions`

use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look};
use crate::file;
use crate::reach::{Needs, Paths, Way};
use crate::walk;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use rustix::fs::{FileType, Stat};
use rustix::thread::CapabilitySet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Findings of one call.
pub(crate) const MAX_FOUND: usize = 1_000;
/// Levels below the directory.
const DEPTH: u32 = 64;
/// The machine's users and groups.
pub(crate) const OWNERS: [&str; 2] = ["/etc/passwd", "/etc/group"];

/// Look for files with permissions that nobody can want: everybody may write them, they give away their owner's rights, or
/// their owner does not exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Directory, looked at with all below it on the same disk.
    #[serde(default = "usual")]
    path: String,
}

pub(crate) fn usual() -> String {
    "/data".into()
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The directory's real path.
    path: String,
    /// Names that were looked at.
    seen: u64,
    /// What is wrong; `sec.permissions_fix` sets right what says so.
    findings: Vec<Finding>,
    /// Not all is shown or could be looked at.
    truncated: bool,
}

/// A file with wrong permissions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Finding {
    /// Its path.
    pub(crate) path: String,
    /// What is wrong.
    problems: Vec<Problem>,
    /// Permission bits now.
    mode: String,
    /// User and group now.
    owner: String,
    /// Permission bits as they should be.
    better_mode: String,
    /// User and group as they should be.
    better_owner: String,
    /// `sec.permissions_fix` can set it right; what belongs to a daemon cannot be.
    fixable: bool,
    /// Mode, user and group now and as they should be.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) facts: [(u32, u32, u32); 2],
}

/// What can be wrong with permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Problem {
    /// Everybody may write it.
    WorldWritable,
    /// It runs with its owner's rights.
    Setuid,
    /// It runs with its group's rights.
    Setgid,
    /// Its user or its group does not exist.
    UnknownOwner,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 215,
    name: "sec.permissions",
    summary: "Look for files that everybody may write, that give away rights or that belong to nobody",
    effect: Effect::Read,
    touches: &["names, modes and owners below the directory given"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("check the permissions of the files in /data", "{}"),
        ("are there files that everybody may write?", "{}"),
        ("look for setuid programs below /usr", r#"{"path":"/usr"}"#),
        ("which files in /data/www have wrong permissions?", r#"{"path":"/data/www"}"#),
        ("do any files belong to nobody?", "{}"),
    ],
    needs: Needs::NOTHING.read(&OWNERS).capabilities(CapabilitySet::DAC_READ_SEARCH),
    code: &Look { paths, run, summary },
};

fn paths(args: &Args) -> Paths {
    vec![(Way::List, args.path.clone().into())]
}

fn run(ctx: &Ctx, args: Args) -> Result<Report, CallError> {
    let (path, walked, findings) = look(ctx, &args.path)?;
    let truncated = walked.truncated || findings.len() >= MAX_FOUND;
    Ok(Report { path: path.display().to_string(), seen: walked.seen, findings, truncated })
}

/// All findings below a directory, the upper ones first.
pub(crate) fn look(ctx: &Ctx, path: &str) -> Result<(PathBuf, walk::Walked, Vec<Finding>), CallError> {
    let root = file::find(path, true)?;
    ctx.may_see(&root.path)?;
    if root.kind() != FileType::Directory {
        return Err(CallError::invalid(format!("{} is no directory", root.path.display())));
    }
    let [users, groups] = OWNERS.map(ids);
    let mut findings = Vec::new();
    let walked = walk::walk(ctx, &root, DEPTH, |path, stat| {
        if findings.len() < MAX_FOUND {
            findings.extend(finding(ctx, path, stat, &users, &groups));
        }
    })?;
    Ok((root.path, walked, findings))
}

/// The ids in passwd(5) or group(5): the third field of each.
fn ids(path: &str) -> HashSet<u32> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

fn finding(
    ctx: &Ctx,
    path: &Path,
    stat: &Stat,
    users: &HashSet<u32>,
    groups: &HashSet<u32>,
) -> Option<Finding> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return None;
    }
    let now = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    let (mut problems, mut better) = (Vec::new(), now);
    // In a directory with the sticky bit everybody has files of their own (inode(7)).
    let is_shared = kind == FileType::Directory && now.0 & 0o1000 != 0;
    if now.0 & 0o002 != 0 && !is_shared {
        problems.push(Problem::WorldWritable);
        better.0 &= !0o002;
    }
    if kind == FileType::RegularFile && now.0 & 0o4000 != 0 {
        problems.push(Problem::Setuid);
        better.0 &= !0o4000;
    }
    if kind == FileType::RegularFile && now.0 & 0o2000 != 0 {
        problems.push(Problem::Setgid);
        better.0 &= !0o2000;
    }
    let unknown = |known: &HashSet<u32>, id: u32| !known.is_empty() && !known.contains(&id);
    if unknown(users, now.1) || unknown(groups, now.2) {
        problems.push(Problem::UnknownOwner);
        // Whoever has the directory gets what nobody has.
        let parent = path.parent().and_then(|parent| rustix::fs::stat(parent).ok());
        let (uid, gid) = parent.map_or((0, 0), |parent| (parent.st_uid, parent.st_gid));
        better.1 = if unknown(users, now.1) { if unknown(users, uid) { 0 } else { uid } } else { now.1 };
        better.2 = if unknown(groups, now.2) { if unknown(groups, gid) { 0 } else { gid } } else { now.2 };
    }
    if problems.is_empty() {
        return None;
    }
    let owner = |(_, uid, gid): (u32, u32, u32)| format!("{uid}:{gid}");
    Some(Finding {
        path: path.display().to_string(),
        problems,
        mode: format!("{:04o}", now.0),
        owner: owner(now),
        better_mode: format!("{:04o}", better.0),
        better_owner: owner(better),
        fixable: ctx.policy.may_write(path).is_ok(),
        facts: [now, better],
    })
}

impl Finding {
    /// Whether it can be set right.
    pub(crate) fn is_fixable(&self) -> bool {
        self.fixable
    }
}

fn summary(report: &Report) -> String {
    let Report { path, seen, findings, .. } = report;
    match findings.as_slice() {
        [] => format!("{seen} names below {path}: nothing is wrong"),
        [first, ..] => {
            let fixable = findings.iter().filter(|one| one.fixable).count();
            format!(
                "{} of {seen} names below {path} have wrong permissions, {} first; sec.permissions_fix can set {fixable} right",
                findings.len(),
                first.path
            )
        }
    }
}
