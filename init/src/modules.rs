//! Kernel modules: a fixed list for what every machine needs, and what the devices ask for.
//!
//! The image ships modules uncompressed. `/lib/modules/load` holds one path a line, relative to
//! `/lib/modules`, in an order in which each comes after those that it needs. Where depmod's
//! `modules.alias` and `modules.dep` are there, devices get the modules that their `modalias` asks for.

use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/lib/modules";
/// What the drivers of sticks are of no use without: their file systems, which no modalias names. (The kernel would call
/// modprobe(8), which is not there.)
const STICKS: [&str; 2] = ["usb_storage", "uas"];
const ON_STICKS: [&str; 4] = ["nls_cp437", "nls_ascii", "vfat", "exfat"];

/// Load what `/lib/modules/load` lists. Returns how many modules are there now, and what went wrong.
pub(crate) fn load_list() -> (usize, Vec<String>) {
    let list = Path::new(DIRECTORY).join("load");
    let Ok(text) = std::fs::read_to_string(list) else { return (0, Vec::new()) };
    let mut faults = Vec::new();
    let mut loaded = 0;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match insert(&Path::new(DIRECTORY).join(line)) {
            Ok(()) => loaded += 1,
            Err(why) => faults.push(why),
        }
    }
    (loaded, faults)
}

/// One module into the kernel; that it is there already is success.
fn insert(path: &Path) -> Result<(), String> {
    let fault = |e: &dyn std::fmt::Display| format!("module {}: {e}", path.display());
    let unknown = "it needs a module that is not there yet; list that one first";
    let file = std::fs::File::open(path).map_err(|e| fault(&e))?;
    match rustix::system::finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => Err(fault(&unknown)),
        Err(e) => Err(fault(&e)),
    }
}

/// What depmod wrote about the modules of this image.
#[derive(Debug, Default)]
pub(crate) struct Index {
    base: PathBuf,
    /// Pattern and module name.
    aliases: Vec<(String, String)>,
    /// Module name → its file and the files that it needs, in the order in which depmod has them.
    files: BTreeMap<String, Vec<String>>,
    asked: BTreeSet<String>,
}

impl Index {
    /// The index of the running kernel's modules; empty if the image has none.
    pub(crate) fn open() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let base = Path::new(DIRECTORY).join(release);
        let text = |name| std::fs::read_to_string(base.join(name)).unwrap_or_default();
        Self::parse(base.clone(), &text("modules.alias"), &text("modules.dep"))
    }

    fn parse(base: PathBuf, alias: &str, dep: &str) -> Self {
        let aliases = alias
            .lines()
            .filter_map(|line| {
                let mut words = line.strip_prefix("alias ")?.split(' ');
                Some((words.next()?.to_owned(), words.next()?.to_owned()))
            })
            .collect();
        let files = dep
            .lines()
            .filter_map(|line| {
                let (file, needs) = line.split_once(':')?;
                let files = std::iter::once(file).chain(needs.split_ascii_whitespace());
                Some((name_of(file), files.map(plain).collect()))
            })
            .collect();
        Self { base, aliases, files, asked: BTreeSet::new() }
    }

    /// Files to load for this modalias, those first that others need.
    fn files_for(&self, modalias: &str) -> Vec<String> {
        let mut files: Vec<String> = Vec::new();
        for (pattern, module) in &self.aliases {
            if !matches(pattern.as_bytes(), modalias.as_bytes()) {
                continue;
            }
            let beside = if STICKS.contains(&module.as_str()) { &ON_STICKS[..] } else { &[] };
            // modules.dep names the nearest first; they have to be loaded the other way round.
            let needed = |name: &str| self.files.get(name).into_iter().flatten().rev();
            for file in beside.iter().copied().flat_map(needed).chain(needed(module)) {
                if !files.contains(file) {
                    files.push(file.clone());
                }
            }
        }
        files
    }

    /// Load what a device asks for. Each modalias is looked up once.
    pub(crate) fn load_for(&mut self, modalias: &str) -> Vec<String> {
        if self.aliases.is_empty() || !self.asked.insert(modalias.to_owned()) {
            return Vec::new();
        }
        let files = self.files_for(modalias);
        // A module that says that there is no such device is no fault: another one may fit.
        files
            .iter()
            .filter_map(|file| insert(&self.base.join(file)).err())
            .filter(|why| !why.ends_with("os error 19)"))
            .collect()
    }

    /// Load what the devices that are there already ask for.
    pub(crate) fn coldplug(&mut self) -> Vec<String> {
        if self.aliases.is_empty() {
            return Vec::new();
        }
        let mut found = BTreeSet::new();
        collect_modaliases(Path::new("/sys/devices"), 0, &mut found);
        found.iter().flat_map(|modalias| self.load_for(modalias)).collect()
    }
}

fn collect_modaliases(directory: &Path, depth: u8, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth < 16 {
            collect_modaliases(&entry.path(), depth + 1, found);
        } else if kind.is_file() && entry.file_name() == "modalias" {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if !text.trim().is_empty() {
                found.insert(text.trim().to_owned());
            }
        }
    }
}

/// `kernel/drivers/virtio_blk.ko.xz` is the module `virtio_blk`.
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

/// The image holds the modules without the compression that depmod saw.
fn plain(file: &str) -> String {
    match file.find(".ko") {
        Some(at) => format!("{}.ko", &file[..at]),
        None => file.to_owned(),
    }
}

/// Shell patterns as depmod writes them: `*`, `?` and `[a-z]`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // The place after the last `*` and how much of the text it has taken: enough to go back to,
    // so that the time is bounded by the product of both lengths.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let here = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => class(&pattern[p..], text[t]).map(|length| p + length),
            Some(byte) => (*byte == text[t]).then_some(p + 1),
            None => None,
        };
        match (here, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The length of the class at the pattern's start, if it holds this byte.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().position(|b| *b == b']')?;
    let mut inside = pattern.get(1..end)?;
    loop {
        inside = match inside {
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&byte) {
                    return Some(end + 1);
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == byte {
                    return Some(end + 1);
                }
                rest
            }
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_depmod_means_them() {
        let yes =
            [("virtio:d00000002v*", "virtio:d00000002v00001AF4"), ("a?c*", "abc"), ("[a-c]x*z", "bxyyz")];
        let no =
            [("virtio:d00000002v*", "virtio:d00000001v00001AF4"), ("a?c", "ac"), ("[a-c]", "d"), ("[a", "a")];
        assert!(yes.iter().all(|(p, t)| matches(p.as_bytes(), t.as_bytes())));
        assert!(!no.iter().any(|(p, t)| matches(p.as_bytes(), t.as_bytes())));
    }

    #[test]
    fn modules_are_loaded_after_those_that_they_need() {
        let alias = "# comment\nalias virtio:d00000001v* virtio_net\n";
        let dep = "kernel/a/virtio-net.ko.xz: kernel/b/net_failover.ko.xz kernel/c/failover.ko.xz\n";
        let index = Index::parse(PathBuf::from("/x"), alias, dep);
        let expected = ["kernel/c/failover.ko", "kernel/b/net_failover.ko", "kernel/a/virtio-net.ko"];
        assert_eq!(index.files_for("virtio:d00000001v00001AF4"), expected);
        assert!(index.files_for("virtio:d00000002v00001AF4").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn matching_ends_whatever_it_is_given(pattern in "[a\\[\\]*?-]{0,30}", text in "[a\\[-]{0,60}") {
            matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
