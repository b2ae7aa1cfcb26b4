//! What the image weighs.

use crate::report::{Bar, Row};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// `size.init` and `size.rootfs`.
pub(crate) fn measure(root: &Path, programs: &Path) -> Result<Vec<Row>> {
    let size = |path: &Path| -> Result<f64> {
        let bytes = std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?.len();
        Ok(bytes as f64 / f64::from(1 << 20))
    };
    let mut rows = vec![Row::new(
        "size.init",
        "PID 1",
        "MiB",
        size(&programs.join("aios-init"))?,
        "busybox",
        size(Path::new("/bin/busybox")).or_else(|_| size(Path::new("/usr/bin/busybox")))?,
        Bar::None,
    )?];
    // The peer is what the distribution's smallest bootable system weighs before a kernel: the
    // packages that dpkg counts as essential or required, unpacked.
    let output = Command::new("dpkg-query").args(["-W", "-f", "${Essential} ${Priority} ${Installed-Size}\\n"]).output()?;
    let kib: f64 = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (essential, priority, size) = (words.next()?, words.next()?, words.next()?);
            (essential == "yes" || priority == "required").then(|| size.parse::<f64>().ok())?
        })
        .sum();
    rows.push(Row::new(
        "size.rootfs",
        "root image with engines, without models",
        "MiB",
        size(&root.join("target/image/root.erofs"))?,
        "Debian's required packages",
        kib / 1024.0,
        Bar::None,
    )?);
    Ok(rows)
}
