//! What the image weighs.

use crate::busybox;
use crate::peer::run;
use crate::report::{Bar, Row};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// What a small system leaves out of its packages.
const LEFT_OUT: [&str; 5] =
    ["/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/lintian/"];

/// What is asked about each installed package.
const FIELDS: &str = "${Package}\\t${Essential}\\t${Priority}\\t${Pre-Depends}, ${Depends}\\n";

/// `size.init`, `size.rootfs` and `size.image`.
pub(crate) fn measure(root: &Path, programs: &Path) -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let image = root.join("target/image");
    let busybox = mib(&busybox::program()?)?;
    let row =
        |id, what, value, peer, peer_value| Row::new(id, what, "MiB", value, peer, peer_value, Bar::None);
    let kernel = mib(&image.join("vmlinuz"))?;
    let root = mib(&image.join("root.erofs"))?;
    Ok(vec![
        row("size.init", "PID 1, static", mib(&programs.join("aios-init"))?, "busybox, static", busybox)?,
        row(
            "size.rootfs",
            "root with engines, no models",
            root,
            "minimal Debian",
            required_packages(folder.path())?,
        )?,
        row(
            "size.image",
            "kernel, initramfs, root; no model",
            kernel + mib(&image.join("initramfs.cpio"))? + root,
            "same kernel, busybox",
            kernel + busybox,
        )?,
    ])
}

fn mib(path: &Path) -> Result<f64> {
    let bytes = std::fs::metadata(path).with_context(|| format!("{} is missing", path.display()))?.len();
    Ok(bytes as f64 / f64::from(1 << 20))
}

/// The distribution's smallest root: the files of the packages that dpkg holds for essential or
/// required and of all that they depend on, without documentation and translations, packed as the
/// appliance's root is.
fn required_packages(folder: &Path) -> Result<f64> {
    let installed = dpkg(&["-W", "-f", FIELDS])?;
    let files = dpkg(&[&["-L"], closure(&installed).as_slice()].concat())?;
    let stage = folder.join("debian");
    for path in files.lines().filter(|path| !LEFT_OUT.iter().any(|part| path.starts_with(part))) {
        copy(Path::new(path), &stage).with_context(|| format!("{path} cannot be copied"))?;
    }
    let packed = folder.join("debian.erofs");
    let mut mkfs = Command::new("mkfs.erofs");
    run(mkfs.args(["-T0", "--all-root", "-zlz4hc,12"]).args([&packed, &stage]))?;
    mib(&packed)
}

fn dpkg(arguments: &[&str]) -> Result<String> {
    let output = Command::new("dpkg-query").args(arguments).output();
    let output = output.context("size.rootfs is compared with Debian's packages; there is no dpkg-query")?;
    ensure!(output.status.success(), "dpkg-query failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The required packages among these, and all that they depend on.
fn closure(installed: &str) -> Vec<&str> {
    let mut needs = HashMap::new();
    let mut wanted = Vec::new();
    for line in installed.lines() {
        let [name, essential, priority, depends] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else {
            continue;
        };
        needs.insert(name, depends);
        if essential == "yes" || priority == "required" {
            wanted.push(name);
        }
    }
    let mut found: Vec<&str> = Vec::new();
    while let Some(name) = wanted.pop() {
        if !found.contains(&name) {
            found.push(name);
            // `a (>= 1) | b, c`: of alternatives, the first one that is there.
            let depends = needs.get(name).into_iter().flat_map(|depends| depends.split(','));
            wanted.extend(depends.filter_map(|one| {
                let mut names =
                    one.split('|').filter_map(|way| way.split([' ', ':', '(']).find(|w| !w.is_empty()));
                names.find(|name| needs.contains_key(name))
            }));
        }
    }
    found
}

/// Copy one file or link of this system; a folder is made when something is in it.
fn copy(path: &Path, stage: &Path) -> Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(known) => known.file_type(),
        // Left out on this system already.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let target = stage.join(path.strip_prefix("/")?);
    if path.is_dir() || target.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(target.parent().unwrap_or(stage))?;
    if kind.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(path)?, target)?;
    } else {
        std::fs::copy(path, target)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_required_packages_depend_on_counts_and_nothing_else_does() {
        let installed = "dash\tyes\toptional\tdpkg (>= 1.19), debianutils:any | other\n\
            dpkg\tno\trequired\tlibc6 (>= 2.34)\ndebianutils\tno\toptional\t, libc6\n\
            libc6\tno\toptional\tmissing, dpkg\nvim\tno\toptional\tlibc6\n";
        let mut found = closure(installed);
        found.sort_unstable();
        assert_eq!(found, ["dash", "debianutils", "dpkg", "libc6"]);
    }
}
