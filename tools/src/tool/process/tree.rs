//! `process.tree`

use super::shared::{KERNEL_THREAD, MAX_COMMAND, human_bytes, no_process, users};
use crate::ctx::Ctx;
use crate::declaration::{Declaration, Look, no_paths};
use crate::reach::Needs;
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::process::{Process, all_processes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Processes in one answer.
const MAX: u32 = 1_000;

/// Show which process started which.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Only this process and what it started, and what those started.
    #[serde(default)]
    pid: Option<u32>,
    /// Also threads of the kernel.
    #[serde(default)]
    kernel: bool,
    /// At most this many processes.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 1_000))]
    limit: u32,
}

fn default_limit() -> u32 {
    300
}

/// The tree, from its root on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tree {
    /// Each process before those that it started.
    processes: Vec<Node>,
    /// How many there are in all.
    total: u32,
    /// There are more than are listed.
    truncated: bool,
}

/// One process.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Node {
    /// Process id.
    pid: u32,
    /// Id of its parent; 0 for those that the kernel started.
    parent: u32,
    /// How far it is from the root, which has 0.
    depth: u32,
    /// Name as the kernel has it.
    name: String,
    /// Command line, shortened.
    command: String,
    /// User that it runs as.
    user: String,
    /// Memory in bytes (resident set).
    memory_bytes: u64,
    /// The same of it and all that it started together; memory that they share counts for each.
    tree_memory_bytes: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 12,
    name: "process.tree",
    summary: "Show the tree of processes: which one started which",
    effect: Effect::Read,
    touches: &["facts of processes"],
    role: Role::Viewer,
    timeout_ms: 10_000,
    examples: &[
        ("show the process tree", "{}"),
        ("pstree", "{}"),
        ("which processes did process 120 start?", r#"{"pid":120}"#),
        ("what are the children of pid 1?", r#"{"pid":1}"#),
        ("who started which program?", "{}"),
        ("draw the tree of processes with the kernel's threads", r#"{"kernel":true}"#),
    ],
    needs: Needs::NOTHING.read(&["/proc", "/etc/passwd"]),
    code: &Look { paths: no_paths, run, summary },
};

fn run(ctx: &Ctx, args: Args) -> Result<Tree, CallError> {
    if args.limit == 0 || args.limit > MAX {
        return Err(CallError::invalid(format!("`limit` must be 1 to {MAX} processes")));
    }
    let users = users();
    let mut nodes = BTreeMap::new();
    let all = all_processes().map_err(|e| CallError::failed(format!("/proc cannot be read: {e}")))?;
    for process in all.flatten() {
        ctx.check()?;
        // A process that ends meanwhile is no error.
        let Ok(stat) = process.stat() else { continue };
        if stat.flags & KERNEL_THREAD != 0 && !args.kernel {
            continue;
        }
        let uid = process.uid().unwrap_or_default();
        let memory = stat.rss.saturating_mul(procfs::page_size());
        let node = Node {
            pid: stat.pid.cast_unsigned(),
            parent: stat.ppid.cast_unsigned(),
            depth: 0,
            command: command(&process),
            name: stat.comm,
            user: users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
            memory_bytes: memory,
            tree_memory_bytes: memory,
        };
        nodes.insert(node.pid, node);
    }
    let mut processes = grow(nodes, args.pid);
    if let (Some(pid), true) = (args.pid, processes.is_empty()) {
        return Err(no_process(pid));
    }
    let total = u32::try_from(processes.len()).unwrap_or(u32::MAX);
    processes.truncate(args.limit as usize);
    Ok(Tree { processes, total, truncated: total > args.limit })
}

fn command(process: &Process) -> String {
    process.cmdline().unwrap_or_default().join(" ").chars().take(MAX_COMMAND).collect()
}

/// The processes in the order of the tree, from this root on or from all roots.
fn grow(mut nodes: BTreeMap<u32, Node>, root: Option<u32>) -> Vec<Node> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for node in nodes.values() {
        children.entry(node.parent).or_default().push(node.pid);
    }
    // Whose parent is not known (it ended while this was read) is a root too.
    let mut open: Vec<(u32, u32)> = match root {
        Some(root) => vec![(root, 0)],
        None => nodes.values().rev().filter(|n| !nodes.contains_key(&n.parent)).map(|n| (n.pid, 0)).collect(),
    };
    let (mut order, mut seen) = (Vec::new(), HashSet::new());
    while let Some((pid, depth)) = open.pop() {
        // A number that was given to another process while this was read could make a circle.
        let Some(node) = nodes.get_mut(&pid).filter(|_| seen.insert(pid)) else { continue };
        node.depth = depth;
        order.push(pid);
        open.extend(children.get(&pid).into_iter().flatten().rev().map(|child| (*child, depth + 1)));
    }
    // From the leaves to the roots.
    for pid in order.iter().rev() {
        let Some((parent, memory)) = nodes.get(pid).map(|node| (node.parent, node.tree_memory_bytes)) else {
            continue;
        };
        if let Some(parent) = nodes.get_mut(&parent).filter(|parent| parent.pid != *pid) {
            parent.tree_memory_bytes = parent.tree_memory_bytes.saturating_add(memory);
        }
    }
    order.iter().filter_map(|pid| nodes.remove(pid)).collect()
}

fn summary(tree: &Tree) -> String {
    let root = tree.processes.first().map(|root| {
        let memory = human_bytes(root.tree_memory_bytes);
        format!(" from {} ({}), which takes {memory} with all that it started", root.name, root.pid)
    });
    format!("{} processes{}", tree.total, root.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(pairs: &[(u32, u32)]) -> BTreeMap<u32, Node> {
        let node = |&(pid, parent): &(u32, u32)| Node {
            pid,
            parent,
            depth: 0,
            name: String::new(),
            command: String::new(),
            user: String::new(),
            memory_bytes: 1,
            tree_memory_bytes: 1,
        };
        pairs.iter().map(|pair| (pair.0, node(pair))).collect()
    }

    fn told(tree: &[Node]) -> Vec<(u32, u32, u64)> {
        tree.iter().map(|node| (node.pid, node.depth, node.tree_memory_bytes)).collect()
    }

    #[test]
    fn children_follow_their_parent_and_an_orphan_is_a_root() {
        let all = [(1, 0), (2, 1), (3, 1), (4, 2), (9, 77)];
        assert_eq!(told(&grow(nodes(&all), None)), [(1, 0, 4), (2, 1, 2), (4, 2, 1), (3, 1, 1), (9, 0, 1)]);
        assert_eq!(told(&grow(nodes(&all), Some(2))), [(2, 0, 2), (4, 1, 1)]);
        assert!(grow(nodes(&all), Some(5)).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_was_read_nobody_is_shown_twice(pairs in proptest::collection::vec((0..12_u32, 0..12_u32), 0..20), root in 0..12_u32) {
            let tree = grow(nodes(&pairs), Some(root));
            let mut pids: Vec<_> = tree.iter().map(|node| node.pid).collect();
            pids.sort_unstable();
            pids.dedup();
            prop_assert_eq!(pids.len(), tree.len());
        }
    }
}
