//! What a reversible tool did and took back leaves no trace: for many files, and each tool that changes them.

mod house;

use aios_abi::ErrorCode;
use house::House;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What can be seen of a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    /// Extended attributes, access lists among them.
    attributes: BTreeMap<String, Vec<u8>>,
    /// Of a file: its content and when that was changed.
    content: Option<(Vec<u8>, i64, i64)>,
}

fn seen(root: &Path) -> BTreeMap<String, Seen> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists").flatten() {
            let (path, facts) = (entry.path(), entry.metadata().expect("is there"));
            let content = facts
                .is_file()
                .then(|| (std::fs::read(&path).expect("reads"), facts.mtime(), facts.mtime_nsec()));
            if facts.is_dir() {
                open.push(path.clone());
            }
            let owner = (facts.uid(), facts.gid());
            let attributes = attributes(&path);
            all.insert(path.display().to_string(), Seen { mode: facts.mode(), owner, attributes, content });
        }
    }
    all
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("lists");
    names.truncate(length);
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("text");
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).expect("is there");
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// A change to the small world of [`furnish`].
#[derive(Debug, Clone)]
enum Step {
    Write { file: usize, text: String, how: &'static str },
    Mkdir { name: u8, mode: u32 },
    Remove { name: usize },
    Move { from: usize, to: u8 },
    Chmod { name: usize, mode: u32 },
    Copy { from: usize, to: usize },
}

const NAMES: [&str; 5] = ["a", "b", "folder", "folder/c", "empty"];

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![Just("overwrite"), Just("append")];
    prop_oneof![
        (0..NAMES.len(), ".{0,40}", how).prop_map(|(file, text, how)| Step::Write { file, text, how }),
        (any::<u8>(), 0..=0o777_u32).prop_map(|(name, mode)| Step::Mkdir { name, mode }),
        (0..NAMES.len()).prop_map(|name| Step::Remove { name }),
        (0..NAMES.len(), any::<u8>()).prop_map(|(from, to)| Step::Move { from, to }),
        (0..NAMES.len(), 0..=0o777_u32).prop_map(|(name, mode)| Step::Chmod { name, mode }),
        (0..NAMES.len(), 0..NAMES.len() + 2).prop_map(|(from, to)| Step::Copy { from, to }),
    ]
}

impl Step {
    fn call(&self, house: &House) -> (&'static str, Value) {
        let at = |name: &str| house.path(name);
        match self {
            Self::Write { file, text, how } => {
                ("fs.write", json!({ "path": at(NAMES[*file]), "content": text, "how": how }))
            }
            Self::Mkdir { name, mode } => {
                ("fs.mkdir", json!({ "path": at(&format!("new-{name}")), "mode": format!("{mode:o}") }))
            }
            Self::Remove { name } => ("fs.remove", json!({ "path": at(NAMES[*name]) })),
            Self::Move { from, to } => {
                ("fs.move", json!({ "from": at(NAMES[*from]), "to": at(&format!("new-{to}")) }))
            }
            Self::Copy { from, to } => {
                let to = NAMES.get(*to).map_or_else(|| format!("copy-{to}"), |name| (*name).to_owned());
                ("fs.copy", json!({ "from": at(NAMES[*from]), "to": at(&to), "overwrite": true }))
            }
            Self::Chmod { name, mode } => {
                ("fs.chmod", json!({ "path": at(NAMES[*name]), "mode": format!("{mode:o}") }))
            }
        }
    }
}

/// An access list for one more user (include/uapi/linux/posix_acl_xattr.h): version 2, then tag, permissions and id.
fn access_list(mode: u32) -> Vec<u8> {
    let bits = |shift: u32| u16::try_from(mode >> shift & 7).expect("three bits");
    let entries =
        [(0x01, bits(6), !0), (0x02, 4, 1000), (0x04, bits(3), !0), (0x10, bits(3), !0), (0x20, bits(0), !0)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(u16::to_le_bytes(tag));
        list.extend(u16::to_le_bytes(permissions));
        list.extend(u32::to_le_bytes(id));
    }
    list
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("is set");
}

/// Two files, a directory with a file, an empty one; all with attributes.
fn furnish(house: &House, content: &[u8], mode: u32) {
    std::fs::create_dir(house.path("folder")).expect("made");
    std::fs::create_dir(house.path("empty")).expect("made");
    set(&house.path("empty"), "user.origin", b"\0\xff any bytes");
    for (n, name) in ["a", "b", "folder/c"].into_iter().enumerate() {
        let path = house.path(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        set(&path, "user.origin", name.as_bytes());
        if n == 0 {
            set(&path, "system.posix_acl_access", &access_list(mode));
        }
        let time = UNIX_EPOCH + Duration::new(1_000_000_000 + n as u64, 7_654_321);
        std::fs::File::options().write(true).open(&path).expect("opens").set_modified(time).expect("set");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn steps_that_are_taken_back_in_turn_leave_everything_as_it_was(
        content in proptest::collection::vec(any::<u8>(), 0..200),
        mode in 0..=0o777_u32,
        steps in proptest::collection::vec(step(), 1..6),
    ) {
        // Whoever has no power of root has to be let in.
        let mode = mode | 0o600;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        runtime.block_on(async {
            let house = House::new();
            furnish(&house, &content, mode);
            let root = house.path("");
            let mut done = Vec::new();
            for step in &steps {
                let before = seen(&root);
                let (tool, args) = step.call(&house);
                match house.change(tool, args).await {
                    Ok(change) => {
                        assert!(change.undoable, "{step:?}: {change:?}");
                        done.push((before, change.audit));
                    }
                    // What makes no sense there (a directory is written to) is refused, and nothing is changed.
                    Err(error) => {
                        assert_ne!(error.code, ErrorCode::Failed, "{step:?}: {error}");
                        assert_eq!(seen(&root), before, "{step:?}: {error}");
                    }
                }
            }
            for (before, audit) in done.into_iter().rev() {
                house.undo(audit).await.expect("is taken back");
                assert_eq!(seen(&root), before);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_did_since_is_not_destroyed() {
    let house = House::new();
    furnish(&house, b"old", 0o644);
    let at = |name: &str| house.path(name);
    let moved = house.change("fs.move", json!({ "from": at("a"), "to": at("z") })).await.expect("is moved");
    let removed = house.change("fs.remove", json!({ "path": at("b") })).await.expect("is removed");
    let made = house.change("fs.mkdir", json!({ "path": at("new") })).await.expect("is made");
    let set = house.change("fs.chmod", json!({ "path": at("empty"), "mode": "0700" })).await.expect("is set");
    std::fs::write(at("a"), "somebody's").expect("written");
    std::fs::write(at("b"), "somebody's").expect("written");
    std::fs::write(at("new/file"), "somebody's").expect("written");
    std::fs::set_permissions(at("empty"), std::fs::Permissions::from_mode(0o711)).expect("set");
    let before = seen(&house.path(""));
    for (what, audit) in
        [("move", moved.audit), ("remove", removed.audit), ("mkdir", made.audit), ("chmod", set.audit)]
    {
        let error = house.undo(audit).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Conflict, "{what}: {error}");
    }
    assert_eq!(seen(&house.path("")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_come_back_and_what_could_not_come_back_is_refused() {
    let house = House::new();
    furnish(&house, b"old", 0o640);
    for name in ["a", "empty"] {
        let moment = |tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 1_234_567 };
        let times = rustix::fs::Timestamps {
            last_access: moment(1_100_000_000),
            last_modification: moment(1_000_000_000),
        };
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, house.path(name), &times, flags).expect("are set");
        let before = times_of(&house.path(name));
        let removed =
            house.change("fs.remove", json!({ "path": house.path(name) })).await.expect("is removed");
        house.undo(removed.audit).await.expect("is taken back");
        assert_eq!(times_of(&house.path(name)), before, "{name}");
    }

    // Somebody else's attribute is not lost either.
    let written = house
        .change("fs.write", json!({ "path": house.path("a"), "content": "new" }))
        .await
        .expect("is written");
    set(&house.path("a"), "user.mine", b"1");
    let error = house.undo(written.audit).await.expect_err("somebody's");
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
    // Version 2 with no capability (include/uapi/linux/capability.h): only root may set it, and a worker is not root.
    let mut none = 0x0200_0000_u32.to_le_bytes().to_vec();
    none.extend([0; 16]);
    set(&house.path("b"), "security.capability", &none);
    for (tool, args) in [
        ("fs.write", json!({ "path": house.path("b"), "content": "x" })),
        ("fs.remove", json!({ "path": house.path("b") })),
        ("fs.chmod", json!({ "path": house.path("b"), "uid": 7 })),
        ("fs.copy", json!({ "from": house.path("b"), "to": house.path("c") })),
    ] {
        let error = house.change(tool, args).await.expect_err("must be refused");
        assert_eq!(error.code, ErrorCode::Denied, "{tool}: {error}");
    }
}

fn times_of(path: &Path) -> [(i64, i64); 2] {
    let facts = std::fs::metadata(path).expect("is there");
    [(facts.atime(), facts.atime_nsec()), (facts.mtime(), facts.mtime_nsec())]
}
