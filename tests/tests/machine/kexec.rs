//! One kernel starts the next, without the firmware in between.

use crate::faults::{machine, said, service, start};
use aios_tests::{BOOT, PATIENCE, image};
use anyhow::{Context, Result, ensure};

/// What the kernel says first.
const KERNEL: &str = "Linux version";

#[test]
fn a_loaded_kernel_takes_over_when_all_services_have_stopped() -> Result<()> {
    let read = |name: &str| std::fs::read(image().join(name)).with_context(|| format!("{name} of the image"));
    let more = "kind = \"oneshot\"\n";
    let mut appliance = machine(
        &[
            service("nothing", "root", &["kexec", "/data/next/none", "/data/next/initramfs.cpio"], more),
            service("next", "root", &["kexec", "/data/next/vmlinuz", "/data/next/initramfs.cpio"], more),
            ("next/vmlinuz".to_owned(), read("vmlinuz")?),
            ("next/initramfs.cpio".to_owned(), read("initramfs.cpio")?),
        ],
        |_| {},
    )?;
    start(&appliance, "nothing")?;
    let refused = said(&appliance, "nothing", "kexec:")?;
    ensure!(refused.contains("/data/next/none"), "{refused}");
    let mut mark = appliance.machine.serial().mark();
    start(&appliance, "next")?;
    let serial = appliance.machine.serial();
    let clean = |line: &str| line.contains("disks are clean; starting the loaded kernel").then_some(());
    serial.wait_for(&mut mark, PATIENCE, clean).context("the services were not stopped in order")?;
    let begins =
        |line: &str| (line.contains(KERNEL) || line.contains("aios: initramfs reached")).then_some(());
    serial.wait_for(&mut mark, PATIENCE, begins).context("the next kernel did not start")?;
    let ready = appliance.machine.wait_ready(BOOT)?;
    ensure!(ready.claim_code().is_none(), "the machine forgot its owner");
    Ok(())
}
