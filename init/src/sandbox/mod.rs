//! What is taken away from a service: prepared here before its process exists, entered by the process itself
//! between clone and exec, where nothing may be allocated.

mod image;
mod landlock;
mod mounts;

use aios_sandbox::landlock::Ruleset;
use aios_sandbox::seccomp::{self, Calls, Instruction};
use aios_sandbox::{self as kernel, Errno};
use aios_unit::{Family, Sandbox as Wanted, SyscallGroup, Unit};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it has been said that the kernel lacks Landlock.
static NO_LANDLOCK_SAID: AtomicBool = AtomicBool::new(false);

/// The sandbox of one service. The default takes nothing away.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sandbox {
    /// Bits of [`UnshareFlags`].
    namespaces: u32,
    /// The image that is its root directory.
    root: Option<image::Root>,
    own_proc: bool,
    own_tmp: bool,
    /// Size of a `/tmp` of its own in which programs can be executed.
    scratch: Option<CString>,
    /// What it may change.
    writable: Vec<CString>,
    /// Where everybody sees what it mounts.
    mounts: Option<CString>,
    rules: Option<landlock::Rules>,
    /// The device nodes that it gets where Landlock does not bar the others.
    only_devices: Option<Vec<CString>>,
    refuse_write_execute: bool,
    /// Nothing of it is installed when it is empty.
    filter: Vec<Instruction>,
}

/// What a filter is made from.
type Wishes = (Vec<SyscallGroup>, Vec<Family>);

/// Distinct filters that are kept; services with the same wishes share one.
const FILTERS: usize = 32;

thread_local! {
    /// Making a filter takes as long as all other preparations together, and PID 1 has one thread.
    static MADE: RefCell<Vec<(Wishes, Vec<Instruction>)>> = const { RefCell::new(Vec::new()) };
}

fn filter(wanted: &Wanted) -> Vec<Instruction> {
    MADE.with_borrow_mut(|made| {
        let same =
            |(syscalls, families): &Wishes| *syscalls == wanted.syscalls && *families == wanted.families;
        if let Some((_, filter)) = made.iter().find(|(wishes, _)| same(wishes)) {
            return filter.clone();
        }
        let filter = seccomp::filter(&Calls {
            groups: wanted.syscalls.clone(),
            families: wanted.families.clone(),
            processes: true,
        });
        if made.len() < FILTERS {
            made.push(((wanted.syscalls.clone(), wanted.families.clone()), filter.clone()));
        }
        filter
    })
}

/// Prepare the sandbox of a service. The second value says what its file names in vain.
pub(crate) fn prepare(unit: &Unit) -> (Sandbox, Vec<String>) {
    let wanted: &Wanted = &unit.sandbox;
    let named = wanted.read.iter().chain(&wanted.write);
    // Most of what a service with an image names is in there.
    let machines = |path: &&PathBuf| unit.root_image.is_none() || image::is_machines(path);
    let missing = named.filter(machines).filter(|path| !path.exists());
    let mut faults: Vec<String> =
        missing.map(|path| format!("{} is not there to be allowed", path.display())).collect();
    if kernel::landlock::version() < 1 && !NO_LANDLOCK_SAID.swap(true, Ordering::Relaxed) {
        let what = "this kernel has no Landlock: which files a service may read is up to their modes alone";
        faults.push(format!("{what} (for every service; said once)"));
    }
    if wanted.privileged {
        return (Sandbox::default(), Vec::new());
    }
    let network = if wanted.network { UnshareFlags::empty() } else { UnshareFlags::NEWNET };
    let rules = landlock::rules(unit);
    let barred =
        rules.is_none() && wanted.mounts.is_none() && unit.devices.iter().all(|device| device.exists());
    let sandbox = Sandbox {
        namespaces: (UnshareFlags::NEWNS | UnshareFlags::NEWIPC | network).bits(),
        root: image::root(unit),
        own_proc: !wanted.sees_processes,
        own_tmp: wanted.private_tmp,
        scratch: wanted.scratch.and_then(|bytes| CString::new(bytes.to_string()).ok()),
        writable: writable(unit).into_iter().filter_map(c_path).chain(divided(unit)).collect(),
        mounts: wanted.mounts.as_ref().and_then(c_path),
        rules,
        only_devices: barred.then(|| unit.devices.iter().filter_map(c_path).collect()),
        refuse_write_execute: !wanted.write_execute,
        filter: filter(wanted),
    };
    (sandbox, faults)
}

/// What a service may change; what lies below another of these goes without saying.
fn writable(unit: &Unit) -> Vec<&Path> {
    let shared = (!unit.sandbox.private_tmp).then_some(Path::new("/tmp"));
    let own = unit.state_directory.iter().chain(&unit.runtime_directory).chain(&unit.sandbox.write);
    let mut all: Vec<&Path> = own.map(PathBuf::as_path).chain(shared).collect();
    // Component by component: a directory comes before what is below it.
    all.sort_unstable();
    all.dedup_by(|below, above| below.starts_with(&**above));
    all
}

/// The cgroup that the service may divide.
fn divided(unit: &Unit) -> Option<CString> {
    unit.resources.delegate.then(|| c_path(crate::cgroup::path_of(&unit.name)))?
}

fn c_path(path: impl AsRef<Path>) -> Option<CString> {
    CString::new(path.as_ref().as_os_str().as_bytes()).ok()
}

/// In the new process, as long as it has all of root's power.
impl Sandbox {
    /// Leave the namespaces of init.
    pub(crate) fn leave_namespaces(&self) -> Result<(), Errno> {
        match UnshareFlags::from_bits_retain(self.namespaces) {
            none if none.is_empty() => Ok(()),
            namespaces => kernel::unshare(namespaces),
        }
    }

    /// Open the image that is to be its root directory, if it has one: it is what a trusted maker signed.
    pub(crate) fn open_image(&self) -> Result<Option<OwnedFd>, Errno> {
        self.root.as_ref().map(image::Root::open).transpose()
    }

    /// Arrange what it sees of the file systems.
    pub(crate) fn arrange_mounts(&self, image: Option<OwnedFd>) -> Result<(), Errno> {
        // Those of init are not ours to arrange.
        match UnshareFlags::from_bits_retain(self.namespaces).contains(UnshareFlags::NEWNS) {
            true => mounts::arrange(self, image),
            false => Ok(()),
        }
    }

    /// Make the rules for files; they hold from [`Sandbox::close`] on.
    pub(crate) fn make_rules(&self) -> Result<Option<Ruleset>, Errno> {
        self.rules.as_ref().map(landlock::Rules::make).transpose()
    }

    /// The last step before the program is executed, without any power left.
    pub(crate) fn close(&self, rules: Option<&Ruleset>) -> Result<(), Errno> {
        if let Some(rules) = rules {
            rules.restrict()?;
        }
        if self.refuse_write_execute {
            kernel::refuse_write_execute()?;
        }
        match self.filter.as_slice() {
            [] => Ok(()),
            filter => seccomp::install(filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> Unit {
        let users = aios_unit::Users::parse("root:x:0:0::/:\nweb:x:5:6::/:\n", "");
        let text = format!("description = \"d\"\nexec = [\"/bin/true\"]\nuser = \"web\"\n{text}");
        aios_unit::parse(Path::new("/x/web.toml"), &text, &users).expect("is valid")
    }

    #[test]
    fn a_service_that_says_nothing_gets_all_bars() {
        let (sandbox, faults) = prepare(&unit(""));
        assert!(faults.is_empty() || faults[0].contains("Landlock"), "{faults:?}");
        assert!(sandbox.own_proc && sandbox.own_tmp && sandbox.refuse_write_execute);
        assert!(sandbox.writable.is_empty());
        assert_eq!(sandbox.namespaces, (UnshareFlags::NEWNS | UnshareFlags::NEWIPC).bits());
    }

    #[test]
    fn a_privileged_service_gets_no_bars() {
        let (sandbox, faults) = prepare(&unit("[sandbox]\nprivileged = true"));
        assert_eq!((sandbox, faults), (Sandbox::default(), Vec::new()));
    }

    #[test]
    fn what_lies_below_a_writable_directory_is_not_named_again() {
        let text = "state_directory = \"/data/web\"\nruntime_directory = \"/run/web\"\n\
                    [sandbox]\nwrite = [\"/data\", \"/data/webs\", \"/srv\"]\nprivate_tmp = false";
        let unit = unit(text);
        let paths: Vec<&str> = writable(&unit).into_iter().filter_map(Path::to_str).collect();
        assert_eq!(paths, ["/data", "/run/web", "/srv", "/tmp"]);
    }

    #[test]
    fn a_path_that_is_not_there_is_said() {
        let (_, faults) = prepare(&unit("[sandbox]\nread = [\"/no/such\"]"));
        assert!(faults.iter().any(|fault| fault.starts_with("/no/such is not there")), "{faults:?}");
    }

    #[test]
    fn who_may_look_into_others_is_barred_from_devices_at_the_mounts() {
        let (sandbox, _) = prepare(&unit("[sandbox]\ncapabilities = [\"CAP_SYS_PTRACE\"]"));
        assert!(sandbox.rules.is_none());
        assert_eq!(sandbox.only_devices, Some(Vec::new()));
    }
}
