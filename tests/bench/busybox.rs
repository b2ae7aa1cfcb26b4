//! The peer's machine: the appliance's kernel and devices, and an initramfs of busybox alone.
//!
//! It is a floor, not an equal: it mounts no disk, has no network but the loopback and no TLS. So it
//! shows how much of a boot belongs to the kernel and the emulator.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// PID 1's first words, before it becomes busybox's init: what its clock says (proc_uptime(5)).
const INIT: &str = "#!/bin/busybox sh\n\
    /bin/busybox mount -t proc proc /proc\n\
    read up idle < /proc/uptime\n\
    /bin/busybox mount -t devtmpfs dev /dev\n\
    echo \"peer: init $up\" > /dev/console\n\
    exec /bin/busybox init\n";

const INITTAB: &str = "::sysinit:/bin/busybox ifconfig lo up\n\
    ::respawn:/bin/busybox httpd -f -p 80 -h /www\n\
    ::once:/bin/busybox sh /etc/ready\n";

/// Tells when the page is served, what memory is in use and by whom (KiB).
const READY: &str = "until /bin/busybox wget -q -O /dev/null http://127.0.0.1/ 2> /dev/null; do :; done\n\
    read up idle < /proc/uptime\n\
    echo \"peer: ready $up\"\n\
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

/// The appliance's image with the peer's initramfs in place of its own.
pub(crate) fn image(appliance: &Path, folder: &Path) -> Result<PathBuf> {
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
    symlink("busybox", stage.join("bin/sh"))?;
    std::fs::write(stage.join("init"), INIT)?;
    std::fs::set_permissions(stage.join("init"), std::fs::Permissions::from_mode(0o755))?;
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
