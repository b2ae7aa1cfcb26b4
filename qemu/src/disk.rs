//! The data disk: an ext4 file system in a sparse file.

use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Size of a new data disk in bytes; the file is sparse.
const SIZE: u64 = 1 << 30;

/// Make an empty data disk. What was in the file before is gone.
pub fn format(image: &Path) -> Result<()> {
    let part = image.with_extension("part");
    let file = std::fs::File::create(&part).with_context(|| format!("{} cannot be made", part.display()))?;
    file.set_len(SIZE)?;
    // The tables are zero already: the file is new.
    run(Command::new("mkfs.ext4")
        .args(["-q", "-F", "-L", "aios-data", "-m", "1"])
        .args(["-E", "root_owner=0:0,nodiscard,assume_storage_prezeroed=1"])
        .arg(&part))
    .or_else(|_| {
        // e2fsprogs before 1.47 does not know the last option.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-L", "aios-data", "-m", "1"]).arg(&part))
    })?;
    std::fs::rename(&part, image).with_context(|| format!("{} cannot be made", image.display()))
}

/// Put files on the disk of a machine that is off: path below `/data`, and content. They belong to root
/// and can be read by all; folders that are not there are made.
pub fn put(image: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    // After a hard power-off the journal holds what was written last.
    repair(image)?;
    let stage = tempfile::tempdir()?;
    let mut script = String::new();
    for (index, (path, content)) in files.iter().enumerate() {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-@/".contains(c);
        ensure!(
            !path.is_empty() && path.chars().all(plain) && !path.starts_with('/') && !path.contains(".."),
            "{path:?} is no path below /data; use letters, digits and . _ - @ /"
        );
        let from = stage.path().join(index.to_string());
        std::fs::write(&from, content)?;
        // `mkdir` of what exists and `rm` of what does not are refused, and the script goes on.
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            script += &format!("mkdir /{folder}\nset_inode_field /{folder} mode 040755\n");
            script += &format!("set_inode_field /{folder} uid 0\nset_inode_field /{folder} gid 0\n");
        }
        script += &format!("rm /{path}\nwrite {} /{path}\n", from.display());
        script += &format!("set_inode_field /{path} mode 0100644\n");
        script += &format!("set_inode_field /{path} uid 0\nset_inode_field /{path} gid 0\n");
    }
    debugfs(image, &script)?;
    for (path, content) in files {
        let found = get(image, path)?;
        ensure!(found == *content, "{path} was not written to {}", image.display());
    }
    Ok(())
}

/// What a file (path below `/data`) on the disk of a machine that is off holds.
pub fn get(image: &Path, path: &str) -> Result<Vec<u8>> {
    let stage = tempfile::tempdir()?;
    let to = stage.path().join("file");
    let said = debugfs(image, &format!("dump /{path} {}\n", to.display()))?;
    std::fs::read(&to).with_context(|| format!("{} holds no {path}: {}", image.display(), said.trim()))
}

/// Replay the journal and mend what power loss left behind; e2fsck(8) ends with 1 when it mended something.
pub fn repair(image: &Path) -> Result<()> {
    let output = command("e2fsck").arg("-p").arg(image).stdin(Stdio::null()).output();
    let output = output.context("e2fsck cannot be started; scripts/deps.sh installs it (e2fsprogs)")?;
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "the file system in {} is damaged: {}",
        image.display(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim()
    );
    Ok(())
}

/// Run commands of debugfs(8) on the disk of a machine that is off, such as those that damage it. Returns
/// what it complained about.
pub fn debugfs(image: &Path, script: &str) -> Result<String> {
    let mut child = command("debugfs")
        .args(["-w", "-f", "/dev/stdin"])
        .arg(image)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("debugfs cannot be started; scripts/deps.sh installs it (e2fsprogs)")?;
    // The scripts are far shorter than a pipe's buffer, so this does not wait for the answer.
    child.stdin.take().context("debugfs has no input")?.write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "debugfs failed on {}: {}", image.display(), said.trim());
    Ok(said)
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .env("PATH", sbin_path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started; scripts/deps.sh installs it (e2fsprogs)"))?;
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn command(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", sbin_path());
    command
}

/// The search path with the places where Debian keeps what only root used to need.
fn sbin_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_put_on_the_disk_is_there_and_can_be_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("data.img");
        format(&image).expect("formats");
        let path = "config/services/broken.toml";
        put(&image, &[(path, b"first"), ("top", b"level")]).expect("puts");
        assert_eq!(get(&image, path).expect("gets"), b"first");
        put(&image, &[(path, b"second, longer")]).expect("puts again");
        assert_eq!(get(&image, path).expect("gets"), b"second, longer");
        assert_eq!(get(&image, "top").expect("gets"), b"level");
        repair(&image).expect("the file system is sound");
        assert!(get(&image, "nothing").is_err());
    }

    #[test]
    fn a_path_cannot_carry_a_second_command() {
        for path in ["", "/etc", "a/../b", "a\nrm /b", "a b"] {
            assert!(put(Path::new("/nonexistent"), &[(path, b"")]).is_err(), "{path:?}");
        }
    }
}
