//! Boot of the appliance against busybox's init and httpd: the same kernel, machine and devices.

use crate::report::{Bar, Row, median};
use aios_qemu::{Machine, MachineConfig};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 3;
const LIMIT: Duration = Duration::from_secs(240);

const INITTAB: &str = "::sysinit:/bin/busybox sh /etc/rc\n\
    ::respawn:/bin/busybox httpd -f -p 80 -h /www\n\
    ::once:/bin/busybox sh /etc/ready\n";
const RC: &str = "/bin/busybox mount -t proc proc /proc\n\
    read up idle < /proc/uptime\necho \"peer: init $up\" > /dev/console\n\
    /bin/busybox ifconfig lo up\n";
const READY: &str = "until /bin/busybox wget -q -O /dev/null http://127.0.0.1/; do :; done\n\
    read up idle < /proc/uptime\necho \"peer: ready $up\" > /dev/console\n\
    while read name kib unit; do\n\
    case $name in MemTotal:) total=$kib;; MemAvailable:) available=$kib;; esac\n\
    done < /proc/meminfo\n\
    echo \"peer: memory $((total - available))\" > /dev/console\n";

/// What one boot showed: milliseconds and KiB.
struct Boot {
    kernel_to_init: f64,
    init_to_console: f64,
    memory: f64,
}

/// `boot.kernel_to_init`, `boot.init_to_console`, `mem.total`.
pub(crate) fn measure(root: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let peer_image = peer_image(root, folder.path())?;
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        println!("bench: boot {} of {ROUNDS}", round + 1);
        ours.push(boot_ours(root, &folder.path().join(format!("ours-{round}")))?);
        peers.push(boot_peer(root, &folder.path().join(format!("peer-{round}")), &peer_image)?);
    }
    let row = |id, what, unit, pick: fn(&Boot) -> f64| {
        let middle = |boots: &[Boot]| median(&mut boots.iter().map(pick).collect::<Vec<_>>());
        Row::new(id, what, unit, middle(&ours), "busybox init + httpd", middle(&peers), Bar::None)
    };
    Ok(vec![
        row("boot.kernel_to_init", "kernel start → PID 1", "ms", |b| b.kernel_to_init)?,
        row("boot.init_to_console", "PID 1 → console answers (HTTPS; peer: HTTP)", "ms", |b| b.init_to_console)?,
        row("mem.total", "memory in use when the console is ready", "MiB", |b| b.memory / 1024.0)?,
    ])
}

fn config(root: &Path, run: &Path) -> MachineConfig {
    let mut config = MachineConfig::new(root, run);
    // The figures are about booting; a loading model beside QEMU would only take its processor.
    config.engines_outside = false;
    config
}

fn boot_ours(root: &Path, run: &Path) -> Result<Boot> {
    let mut machine = Machine::start(config(root, run))?;
    let number = |machine: &Machine, before: &str| -> Result<f64> {
        machine.serial().wait_for(&mut 0, LIMIT, |line| number_after(line, before))
    };
    machine.wait_ready(LIMIT)?;
    let init = number(&machine, "aios: PID 1 at ")?;
    let console = number(&machine, "aios: console is ready at ")?;
    let memory = number(&machine, "aios: memory in use ")?;
    machine.kill()?;
    Ok(Boot { kernel_to_init: init, init_to_console: console - init, memory })
}

fn boot_peer(root: &Path, run: &Path, image: &Path) -> Result<Boot> {
    let mut config = config(root, run);
    config.image = image.to_owned();
    let mut machine = Machine::start(config)?;
    let number = |before: &str| machine.serial().wait_for(&mut 0, LIMIT, |line| number_after(line, before));
    let init = number("peer: init ")? * 1000.0;
    let ready = number("peer: ready ")? * 1000.0;
    let memory = number("peer: memory ")?;
    machine.kill()?;
    Ok(Boot { kernel_to_init: init, init_to_console: ready - init, memory })
}

/// The number that follows these words in a line.
fn number_after(line: &str, words: &str) -> Option<f64> {
    let (_, rest) = line.split_once(words)?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.trim_end_matches('.').parse().ok()
}

/// The appliance's own image with another initramfs: busybox, a page and three small files.
fn peer_image(root: &Path, folder: &Path) -> Result<PathBuf> {
    let image = folder.join("peer");
    let stage = folder.join("stage");
    for part in ["bin", "etc", "www", "proc", "dev"] {
        std::fs::create_dir_all(stage.join(part))?;
    }
    std::fs::create_dir_all(&image)?;
    for name in ["vmlinuz", "root.erofs", "models.erofs"] {
        std::os::unix::fs::symlink(std::path::absolute(root.join("target/image").join(name))?, image.join(name))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists());
    std::fs::copy(busybox.context("busybox is missing; scripts/deps.sh bench installs it")?, stage.join("bin/busybox"))?;
    std::os::unix::fs::symlink("bin/busybox", stage.join("init"))?;
    std::os::unix::fs::symlink("busybox", stage.join("bin/sh"))?;
    std::fs::write(stage.join("etc/inittab"), INITTAB)?;
    std::fs::write(stage.join("etc/rc"), RC)?;
    std::fs::write(stage.join("etc/ready"), READY)?;
    std::fs::write(stage.join("www/index.html"), "ready\n")?;
    // busybox makes its own archive: what it packs it can unpack.
    let list = Command::new("find").arg(".").current_dir(&stage).output()?.stdout;
    let mut cpio = Command::new("/bin/busybox")
        .args(["cpio", "-o", "-H", "newc"])
        .current_dir(&stage)
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(image.join("initramfs.cpio"))?)
        .stderr(Stdio::null())
        .spawn()?;
    std::io::Write::write_all(&mut cpio.stdin.take().context("no stdin")?, &list)?;
    ensure!(cpio.wait()?.success(), "the peer's initramfs could not be packed");
    Ok(image)
}
