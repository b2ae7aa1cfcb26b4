//! The power fails at any moment: during the boot, and while services write files and logs.

use super::service;
use crate::Random;
use aios_qemu::{Machine, MachineConfig, disk};
use aios_tests::{BOOT, image, root};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often the plug is pulled.
const CUTS: u32 = 20;
/// So many of them while it boots, the others while services write.
const BOOTING: u32 = 8;
/// From QEMU's start until the services begin, at most.
const BOOT_TIME: u64 = 7_000;
/// From their beginning.
const WRITE_TIME: u64 = 4_000;

/// With this a service says on the serial line what it has kept.
const KEPT: &str = " kept ";

#[test]
fn power_that_fails_at_random_moments_leaves_a_sound_disk_and_readable_logs() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("aios-test-").tempdir()?;
    let mut config = MachineConfig::new(&root(), folder.path());
    config.image = image();
    config.engines_outside = false;
    disk::format(&config.data)?;
    let mut files = vec![service("inferd", "aios-inferd", &["idle"], "")];
    for name in ["scribble-a", "scribble-b"] {
        let more = format!("state_directory = \"/data/{name}\"\ndevices = [\"/dev/console\"]\n");
        let (path, text) = service(name, "root", &["scribble"], &more);
        // These two begin with the boot.
        files.push((path, String::from_utf8(text)?.replace("start = \"manual\"\n", "").into_bytes()));
    }
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, text)| (path.as_str(), text.as_slice())).collect();
    disk::put(&config.data, &files)?;

    let seed = Random::seed()?;
    println!("fault power: seed {seed}");
    let mut random = Random::new(seed);
    let mut kept = BTreeMap::new();
    let (mut booting, mut writing, mut replayed, mut records) = (0, 0, 0, 0);
    for cut in 1..=CUTS {
        let mut machine = Machine::start(config.clone())?;
        let limit = if cut <= BOOTING {
            BOOT_TIME
        } else {
            machine.serial().wait_for_line(|line| line.contains(KEPT), BOOT)?;
            WRITE_TIME
        };
        let moment = Duration::from_millis(random.number() % limit);
        // Nothing happens at this moment that could be awaited: that is the point.
        std::thread::sleep(moment);
        machine.kill()?;
        let said = machine.serial().text();
        if said.contains(KEPT) {
            writing += 1
        } else {
            booting += 1
        }
        for (name, number) in promises(&said) {
            kept.insert(name, number);
        }
        let found = check(&config.data, &kept)
            .with_context(|| format!("cut {cut} after {} ms (seed {seed})", moment.as_millis()))?;
        replayed += u32::from(found.replayed);
        records = found.records;
    }
    let begun = Instant::now();
    let mut machine = Machine::start(config.clone())?;
    machine.wait_ready(BOOT)?;
    println!(
        "fault power: {CUTS} cuts, {booting} during the boot and {writing} while services wrote; the journal had \
         something to replay after {replayed}; each time the file system was sound, all that was promised was \
         there ({kept:?}) and the log could be read ({records} records in the end); the last boot took {} s",
        begun.elapsed().as_secs()
    );
    Ok(())
}

/// What the services said that they had kept: service and number, in the order in which they said it. Of
/// a line that the cut made shorter a smaller number is read.
fn promises(serial: &str) -> impl Iterator<Item = (String, u64)> {
    serial.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("hostile: ")?.split_once(KEPT)?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    })
}

struct Found {
    replayed: bool,
    records: usize,
}

/// Look at a copy of the disk as the cut left it: the machine's next boot has to cope with the original.
fn check(data: &Path, kept: &BTreeMap<String, u64>) -> Result<Found> {
    let folder = tempfile::tempdir_in(data.parent().context("the disk lies nowhere")?)?;
    let copy = folder.path().join("copy.img");
    tool("cp", &["--sparse=always", &data.display().to_string(), &copy.display().to_string()], &[0])?;
    let image = copy.display().to_string();
    let said = tool("e2fsck", &["-p", &image], &[0, 1])?;
    tool("e2fsck", &["-f", "-n", &image], &[0])?;
    for (name, promised) in kept {
        let text = disk::get(&copy, &format!("{name}/counter"))?;
        let text = String::from_utf8(text)?;
        let number: u64 = text.trim().parse().with_context(|| format!("{name} holds {text:?}"))?;
        ensure!(number >= *promised, "{name} said that it had kept {promised}, there is {number}");
    }
    let mut log = String::new();
    for file in (1..=7).rev().map(|n| n.to_string()).chain(["current".to_owned()]) {
        // Those that were not begun yet.
        let Ok(bytes) = disk::get(&copy, &format!("log/{file}.log")) else { continue };
        log.push_str(&String::from_utf8(bytes).with_context(|| format!("{file}.log is no text"))?);
    }
    Ok(Found { replayed: said.contains("recovering journal"), records: read_log(&log)? })
}

/// Read the stored log as a person's tools would. The last line of a boot may be torn, no other one.
fn read_log(text: &str) -> Result<usize> {
    let headings = text.lines().filter(|line| line.starts_with("--- boot ")).count();
    ensure!(headings == text.matches("--- boot ").count(), "a boot does not begin on a line of its own");
    let (mut records, mut last, mut boot) = (0, 0, "");
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(id) = line.strip_prefix("--- boot ") {
            // A new file of the same boot has the same heading.
            last = if id == boot { last } else { 0 };
            boot = id;
            continue;
        }
        let mut words = line.splitn(5, ' ');
        let (time, seq, unit, priority) = (words.next(), words.next(), words.next(), words.next());
        let whole = time.is_some_and(|time| time.len() == 24 && time.ends_with('Z'))
            && unit.is_some_and(|unit| !unit.is_empty())
            && priority.is_some_and(|p| p.starts_with('<') && p.ends_with('>'));
        let seq = seq.and_then(|seq| seq.parse::<u64>().ok()).filter(|_| whole);
        let Some(seq) = seq else {
            let at_the_end = lines.peek().is_none_or(|next| next.starts_with("--- boot "));
            ensure!(at_the_end, "a line in the middle cannot be read: {line:?}");
            continue;
        };
        ensure!(seq > last, "line {seq} comes after line {last}: {line:?}");
        (records, last) = (records + 1, seq);
    }
    Ok(records)
}

/// Run a program of the distribution; these exit statuses are good.
fn tool(name: &str, arguments: &[&str], good: &[i32]) -> Result<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(name).args(arguments).env("PATH", path).output()?;
    let said = aios_tests::said(&output);
    ensure!(output.status.code().is_some_and(|code| good.contains(&code)), "{name}: {said}");
    Ok(said)
}
