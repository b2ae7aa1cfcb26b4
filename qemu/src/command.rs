//! The command line of QEMU (qemu(1)).

use crate::accel::Accel;
use crate::config::MachineConfig;
use crate::engine::Kind;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

/// Name of the control socket in QEMU's working directory.
pub(crate) const CONTROL: &str = "qmp.sock";

/// QEMU for this machine. Its sockets are relative to its working directory, because the path of a
/// socket must be shorter than 108 bytes (unix(7)) wherever the checkout lies.
pub(crate) fn qemu(
    config: &MachineConfig,
    accel: Accel,
    port: u16,
    ports: bool,
    sockets: &Path,
) -> Result<Command> {
    let append = format!(
        "console=ttyS0 root=SERIAL=aios-root aios.models=SERIAL=aios-models aios.data=SERIAL=aios-data quiet panic=10 {}",
        config.cmdline
    );
    let mut command = Command::new("qemu-system-x86_64");
    command
        .current_dir(sockets)
        .args(["-name", "aios", "-M", "q35"])
        .args(["-smp", &config.processors.to_string(), "-m", &config.memory.to_string()])
        .args(accel.args())
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .arg("-kernel")
        .arg(part(config, "vmlinuz")?)
        .arg("-initrd")
        .arg(part(config, "initramfs.cpio")?)
        .args(["-append", append.trim_end()])
        .args(["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"])
        .args(["-chardev", &format!("socket,id=control,path={CONTROL},server=on,wait=off")])
        .args(["-mon", "chardev=control,mode=control"])
        // restrict=on: the guest reaches nobody, and only this one port leads to it.
        .args(["-netdev", &format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:443")])
        .args(["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]);
    if !config.reboots {
        command.arg("-no-reboot");
    }
    if config.watchdog {
        command.args(["-device", "i6300esb", "-action", "watchdog=reset"]);
    }
    if config.usb {
        command.args(["-device", "qemu-xhci"]);
    }
    disk(&mut command, "aios-root", &part(config, "root.erofs")?, true);
    disk(&mut command, "aios-models", &part(config, "models.erofs")?, true);
    disk(&mut command, "aios-data", &absolute(&config.data)?, false);
    if ports {
        command.args(["-device", "virtio-serial-pci"]);
        for kind in Kind::ALL {
            let name = kind.port();
            // The worker may be started again at any time: QEMU looks for it every second.
            command.args(["-chardev", &format!("socket,id={name},path={name},server=off,reconnect=1")]);
            command.args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
        }
    }
    Ok(command)
}

fn part(config: &MachineConfig, name: &str) -> Result<PathBuf> {
    let path = absolute(config.image.join(name))?;
    ensure!(path.exists(), "{} is missing; `make image` builds it", path.display());
    Ok(path)
}

fn disk(command: &mut Command, serial: &str, file: &Path, read_only: bool) {
    // What is only read may be shared by many machines, and replaced for the next one while one runs.
    let options = if read_only { "readonly=on,file.locking=off" } else { "readonly=off,discard=unmap" };
    command.args(["-drive", &format!("if=none,id={serial},format=raw,{options},file={}", escaped(file))]);
    command.args(["-device", &format!("virtio-blk-pci,drive={serial},serial={serial}")]);
}

/// A path as QEMU's option parser reads it: a comma is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(change: impl FnOnce(&mut MachineConfig)) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let mut config = MachineConfig::new(folder.path(), folder.path().join("a,b"));
        std::fs::create_dir_all(&config.image)?;
        for name in ["vmlinuz", "initramfs.cpio", "root.erofs", "models.erofs"] {
            std::fs::write(config.image.join(name), "")?;
        }
        change(&mut config);
        let command = qemu(&config, Accel::Tcg, 8443, true, Path::new("/"))?;
        Ok(command.get_args().map(|a| a.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn the_guest_reaches_nobody_and_is_reached_from_this_computer_only() {
        let all = arguments(|_| {}).expect("a command");
        let network: Vec<&String> =
            all.iter().filter(|a| a.contains("hostfwd") || a.contains("netdev")).collect();
        assert!(network.iter().any(|a| a.contains("restrict=on") && a.contains("tcp:127.0.0.1:8443-:443")));
    }

    #[test]
    fn only_the_data_disk_can_be_written_and_a_comma_in_its_path_is_doubled() {
        let all = arguments(|_| {}).expect("a command");
        let drives: Vec<&String> = all.iter().filter(|a| a.starts_with("if=none,")).collect();
        assert_eq!(drives.iter().filter(|d| d.contains("readonly=on")).count(), 2);
        let data = drives.iter().find(|d| d.contains("id=aios-data")).expect("a data disk");
        assert!(data.contains("readonly=off") && data.contains("/a,,b/data.img"), "{data}");
    }

    #[test]
    fn a_missing_part_of_the_image_is_named_with_its_cure() {
        let error = arguments(|c| std::fs::remove_file(c.image.join("root.erofs")).expect("removed"));
        let text = error.expect_err("refused").to_string();
        assert!(text.contains("root.erofs is missing; `make image` builds it"), "{text}");
    }
}
