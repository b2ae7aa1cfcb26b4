//! The peer's machine: the appliance's kernel and devices, and an initramfs of busybox alone.
//!
//! It is a floor, not an equal: it mounts no disk, has no network but the loopback and no TLS. So it
//! shows how much of a boot belongs to the kernel and the emulator.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const INITTAB: &str = "::sysinit:/bin/sh /etc/rc\n\
    ::respawn:/bin/httpd -f -p 80 -h /www\n\
    ::once:/bin/sh /etc/ready\n";

const RC: &str = "/bin/busybox mount -t proc proc /proc\n\
    /bin/busybox mount -t devtmpfs dev /dev\n\
    /bin/busybox ifconfig lo up\n";

/// Tells when the page is served, what memory is in use and by whom (KiB).
const READY: &str = "until /bin/busybox wget -q -O /dev/null http://127.0.0.1/ 2> /dev/null; do :; done\n\
    /init ready\n\
    while read name kib unit; do\n\
    case $name in MemTotal:) total=$kib;; MemAvailable:) available=$kib;; esac\n\
    done < /proc/meminfo\n\
    echo \"peer: memory $((total - available))\"\n\
    for folder in /proc/[0-9]*; do\n\
    [ \"$folder\" = \"/proc/$$\" ] && continue\n\
    read size resident rest < $folder/statm\n\
    read name < $folder/comm\n\
    [ \"$resident\" -gt 0 ] && echo \"peer: process $name $((resident * 4))\"\n\
    done\n\
    echo \"peer: done\"\n";

/// Where busybox is; its static build is the one that the distribution calls `busybox-static`.
pub(crate) fn program() -> Result<PathBuf> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(PathBuf::from).find(|p| p.exists());
    found.context("there is no busybox; `scripts/deps.sh bench` installs it")
}

/// The appliance's image with the peer's initramfs in place of its own, whose first program is `stamp`
/// (src/bin/stamp.rs).
pub(crate) fn image(appliance: &Path, stamp: &Path, folder: &Path) -> Result<PathBuf> {
    let image = folder.join("peer");
    std::fs::create_dir_all(&image)?;
    for name in ["vmlinuz", "root.erofs", "models.erofs"] {
        symlink(std::path::absolute(appliance.join(name))?, image.join(name))?;
    }
    let stage = folder.join("stage");
    for part in ["bin", "etc", "www", "proc", "dev"] {
        std::fs::create_dir_all(stage.join(part))?;
    }
    let busybox = program()?;
    std::fs::copy(&busybox, stage.join("bin/busybox"))?;
    for name in ["sh", "init", "httpd"] {
        symlink("busybox", stage.join("bin").join(name))?;
    }
    std::fs::copy(stamp, stage.join("init"))?;
    std::fs::write(stage.join("etc/rc"), RC)?;
    std::fs::write(stage.join("etc/inittab"), INITTAB)?;
    std::fs::write(stage.join("etc/ready"), READY)?;
    std::fs::write(stage.join("www/index.html"), "ready\n")?;
    // busybox makes its own archive: what it packs it can unpack.
    let list = Command::new("find").arg(".").current_dir(&stage).output()?.stdout;
    let mut cpio = Command::new(&busybox)
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(&stage)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(image.join("initramfs.cpio"))?)
        .stderr(Stdio::null())
        .spawn()?;
    cpio.stdin.take().context("no stdin")?.write_all(&list)?;
    ensure!(cpio.wait()?.success(), "the peer's initramfs could not be packed");
    Ok(image)
}
