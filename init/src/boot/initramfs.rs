//! The first stage: from the kernel's initramfs to the root file system on a disk.

use super::mounts;
use crate::cmdline::Cmdline;
use crate::device::{Uevents, wait_for_disk};
use crate::logs::Logs;
use crate::modules;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long the root disk may take to appear.
const ROOT_LIMIT: Duration = Duration::from_secs(30);
const NEW_ROOT: &str = "/newroot";

/// Find and mount the root and make it `/`. The caller then executes its init. On failure the machine
/// cannot go on.
pub(crate) fn enter(cmdline: &Cmdline, logs: &mut Logs) -> Result<(), String> {
    let disk = cmdline.root.as_ref().ok_or("the kernel command line has no root=")?;
    // Listen before looking: what appears in between is then noticed.
    let uevents = Uevents::open().map_err(|e| format!("no kernel events: {e}"))?;
    let (_, faults) = modules::load_list();
    faults.iter().for_each(|fault| logs.warn(fault));
    let device = wait_for_disk(disk, &uevents, ROOT_LIMIT).map_err(|why| format!("root: {why}"))?;
    std::fs::create_dir_all(NEW_ROOT).map_err(|e| format!("{NEW_ROOT}: {e}"))?;
    mounts::root(&device, NEW_ROOT, cmdline.root_type.as_deref().unwrap_or("erofs"))?;
    for at in ["/proc", "/sys", "/dev"] {
        let to = format!("{NEW_ROOT}{at}");
        rustix::mount::mount_move(at, &to).map_err(|e| {
            format!("{at} cannot be moved to the root file system: {e}; the image needs that directory")
        })?;
    }
    let fail = |e: rustix::io::Errno| format!("the root file system cannot become /: {e}");
    rustix::process::chdir(NEW_ROOT).map_err(fail)?;
    free_initramfs(Path::new("/"));
    rustix::mount::mount_move(".", "/").map_err(fail)?;
    rustix::process::chroot(".").map_err(fail)?;
    rustix::process::chdir("/").map_err(fail)?;
    Ok(())
}

/// Give the memory of the initramfs back: remove its files, but nothing of another file system.
fn free_initramfs(root: &Path) {
    let Ok(device) = std::fs::symlink_metadata(root).map(|m| m.dev()) else { return };
    // Only what lives in memory is thrown away, whatever the machine was booted from.
    let kind = rustix::fs::statfs("/").map(|s| s.f_type).unwrap_or(0);
    const RAMFS: i64 = 0x8584_58f6;
    const TMPFS: i64 = 0x0102_1994;
    if kind == RAMFS || kind == TMPFS {
        remove_below(root, device);
    }
}

fn remove_below(directory: &Path, device: u64) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match std::fs::symlink_metadata(&path) {
            Ok(m) if m.dev() != device => {}
            Ok(m) if m.is_dir() => {
                remove_below(&path, device);
                let _ = std::fs::remove_dir(&path);
            }
            _ => {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}
