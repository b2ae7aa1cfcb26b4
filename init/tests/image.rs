//! Services whose root directory is a signed image, under the true PID 1 in namespaces of its own: what they see, what they
//! cannot do, and which images are not started. This program is all of it: the test outside, the services inside, and the
//! judge, a service that asks init what became of the others and switches it off.

use aios_abi::call::{ClientFrame, Meta, Request, ServerFrame};
use aios_abi::run::{MAX_OUTPUT, RunEnd, RunHow, RunOutcome, RunRequest};
use aios_abi::service::{InitEvent, InitReply, InitRequest};
use aios_abi::{CallError, frame, paths};
use aios_extension::{Seal, private_line, public_line};
use ed25519_dalek::SigningKey;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketType, connect, recvmsg, send, socket,
};
use std::fmt::Write as _;
use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const MANIFEST: &str = "name = \"probe\"\nversion = \"1\"\ndescription = \"d\"\narchitecture = \"x86_64\"\n";
/// Services with an image, of which one is as it should be.
const NAMES: [&str; 6] = ["good", "altered", "cut", "stranger", "missing", "link"];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// What may be run beside each of them.
const COMMANDS: &str = r#"
[commands.say]
description = "d"
exec = ["/usr/bin/probe", "say", "words"]
arguments = "any"
changes = false
[commands.flood]
description = "d"
exec = ["/usr/bin/probe", "say", "flood"]
[commands.stay]
description = "d"
exec = ["/usr/bin/probe", "say", "stay"]
time_limit = "300ms"
[commands.leave]
description = "d"
exec = ["/usr/bin/probe", "say", "leave"]
[commands.none]
description = "d"
exec = ["/usr/bin/none"]
"#;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("enter") => enter(Path::new(&words[2])),
        Some("become") => become_init(Path::new(&words[2])),
        Some("probe") => probe(),
        Some("say") => say(&words[2..]),
        Some("judge") => judge(),
        _ => test(),
    }
    ExitCode::SUCCESS
}

fn test() {
    let own = std::env::current_exe().expect("a program");
    if !rustix::process::geteuid().is_root() {
        let status = Command::new("sudo").arg(own).status().expect("sudo is there");
        assert!(status.success());
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    run(Command::new("unshare")
        .args(["--mount", "--kill-child", "--fork"])
        .arg(&own)
        .arg("enter")
        .arg(folder));
    let read = |name: &str| {
        fs::read_to_string(folder.join("out").join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    println!("{}", read("console"));
    let verdict = read("verdict");
    println!("{verdict}");
    let state = |name: &str| {
        let line = verdict.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("nothing of {name}")).to_owned()
    };
    let seen = read("seen-good");
    println!("{seen}");
    let expected = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/image.expected"));
    assert_eq!(seen, expected.expect("what is expected"));
    assert!(state("good").contains("stopped"), "a oneshot that has done its work");
    for (name, why) in [
        ("altered", "Bad message"),
        ("cut", "Bad message"),
        ("stranger", "Key was rejected"),
        ("missing", "No such file"),
        ("link", "Too many levels of symbolic links"),
    ] {
        assert!(!folder.join("out").join(format!("seen-{name}")).exists(), "{name} ran");
        let said = state(name);
        assert!(said.contains("failed while checking its image") && said.contains(why), "{name}: {said}");
    }
    let commands = "say: Exited(3): 2001 /data/good gid 2001 /data/good /opt: a b|c, read 0 bytes\n\
         flood: Exited(0): all of 262144 bytes, the rest is counted\n\
         stay: TimedOut: it stays\n\
         leave: Exited(0): it left one behind\n\
         none: Failed: good: none failed while executing its program: No such file or directory (os error 2)\n\
         altered: Failed: altered: say failed while checking its image (signature and content): Bad message (os error 74)\n\
         spawn: Exited(0)\n\
         still running: []\n\
         the service: stopped\n";
    assert_eq!(read("commands"), commands);
    println!("test result: ok. one image was started, five were refused; its commands ran as it did");
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// In a mount namespace: a data disk and a cgroup, then a machine with them.
fn enter(folder: &Path) {
    let (root, out, disk, groups) =
        (folder.join("root"), folder.join("out"), folder.join("disk"), folder.join("cgroup"));
    for name in [&root.join("data"), &out, &groups] {
        fs::create_dir_all(name).expect("made");
    }
    fs::File::create(&disk).and_then(|file| file.set_len(256 << 20)).expect("made");
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk));
    run(Command::new("mount").args(["-o", "loop,nosuid,nodev,noexec"]).arg(&disk).arg(root.join("data")));
    let own = std::env::current_exe().expect("a program");
    prepare(&root, &own);
    mount("cgroup2", &groups, "cgroup2", MountFlags::empty(), c"").expect("cgroups");
    let group = groups.join(format!("aios-init-test-{}", std::process::id()));
    fs::create_dir(&group).expect("a cgroup");
    let home = fs::read_to_string("/proc/self/cgroup").expect("read");
    let home =
        home.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup").trim_start_matches('/');
    fs::write(group.join("cgroup.procs"), "0").expect("entered");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child"]);
    // Its end is that of PID 1, by a signal (reboot(2), "Behavior inside PID namespaces").
    unshare.arg(&own).arg("become").arg(&root).status().expect("unshare is there");
    fs::write(groups.join(home).join("cgroup.procs"), "0").expect("left");
    remove_groups(&group);
    let keep = |from: String, to: &str| drop(fs::copy(root.join("data").join(from), out.join(to)));
    keep("console".into(), "console");
    keep("judge/verdict".into(), "verdict");
    keep("judge/commands".into(), "commands");
    for name in NAMES {
        keep(format!("{name}/seen"), &format!("seen-{name}"));
    }
}

fn remove_groups(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

/// The machine's files: init, service files, trusted keys, images.
fn prepare(root: &Path, own: &Path) {
    for name in
        ["sbin", "usr/bin", "etc/aios/services", "proc", "sys", "dev", "run", "tmp", "data/extensions"]
    {
        fs::create_dir_all(root.join(name)).expect("made");
    }
    fs::copy(env!("CARGO_BIN_EXE_aios-init"), root.join("sbin/init")).expect("copied");
    fs::copy(own, root.join("usr/bin/test")).expect("copied");
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:\n").expect("written");
    fs::write(root.join("data/console"), "").expect("written");
    fs::write(root.join("etc/secret"), "the machine's").expect("written");
    let (ours, strangers) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let keys = root.join(aios_extension::KEY_FILES[0].trim_start_matches('/'));
    // A private half in a list of public ones counts for nothing.
    fs::write(keys, public_line(&ours) + &private_line(&strangers)).expect("written");

    let image = image(root.parent().expect("a folder"), own);
    let signed = |key: &SigningKey| {
        let seal = Seal::sign(image.len() as u64, *blake3::hash(&image).as_bytes(), MANIFEST.as_bytes(), key);
        [image.as_slice(), MANIFEST.as_bytes(), &seal.to_bytes()].concat()
    };
    let good = signed(&ours);
    let mut altered = good.clone();
    altered[image.len() / 2] ^= 1;
    let put = |name: &str, bytes: &[u8]| {
        fs::write(root.join(format!("data/extensions/{name}.aiosx")), bytes).expect("written");
    };
    put("good", &good);
    put("altered", &altered);
    put("cut", &good[..good.len() - 4096]);
    put("stranger", &signed(&strangers));
    std::os::unix::fs::symlink("good.aiosx", root.join("data/extensions/link.aiosx")).expect("made");
    for name in NAMES {
        let text = format!(
            "description = \"d\"\nkind = \"oneshot\"\nexec = [\"/usr/bin/probe\", \"probe\"]\nuser = \"2001\"\n\
             root_image = \"/data/extensions/{name}.aiosx\"\nstate_directory = \"/data/{name}\"\n\
             runtime_directory = \"/run/{name}\"\nworking_directory = \"/data/{name}\"\n\
             [environment]\nPATH = \"/opt\"\n[sandbox]\nnetwork = false\n"
        ) + COMMANDS;
        fs::write(root.join(format!("etc/aios/services/{name}.toml")), text).expect("written");
    }
    let judge = format!(
        "description = \"d\"\nkind = \"oneshot\"\nexec = [\"/usr/bin/test\", \"judge\"]\nuser = \"root\"\n\
         state_directory = \"/data/judge\"\nafter = {NAMES:?}\n[sandbox]\nnetwork = false\n"
    );
    fs::write(root.join("etc/aios/services/judge.toml"), judge).expect("written");
}

/// A file system with this program in it.
fn image(folder: &Path, own: &Path) -> Vec<u8> {
    let stage = folder.join("stage");
    for name in ["usr/bin", "etc", "proc", "sys", "dev", "run", "tmp", "data", "models"] {
        fs::create_dir_all(stage.join(name)).expect("made");
    }
    fs::copy(own, stage.join("usr/bin/probe")).expect("copied");
    fs::write(stage.join("etc/passwd"), "probe:x:2001:2001::/:\n").expect("written");
    // Its mount allows no change of user.
    fs::copy("/bin/true", stage.join("usr/bin/other")).expect("copied");
    fs::set_permissions(stage.join("usr/bin/other"), fs::Permissions::from_mode(0o4755)).expect("set");
    let file = folder.join("image.erofs");
    let made = Command::new("mkfs.erofs").arg("-zlz4hc").arg(&file).arg(&stage).output().expect("is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(file).expect("read")
}

/// In the namespaces: make the root and become init.
fn become_init(root: &Path) {
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .expect("private");
    rustix::mount::mount_bind_recursive(root, root).expect("bound");
    let fresh = |kind: &str, at: &str| {
        mount(kind, root.join(at), kind, MountFlags::empty(), c"").unwrap_or_else(|e| panic!("{at}: {e}"));
    };
    fresh("proc", "proc");
    fresh("sysfs", "sys");
    fresh("cgroup2", "sys/fs/cgroup");
    fresh("tmpfs", "dev");
    fresh("tmpfs", "run");
    for name in DEVICES {
        let node = root.join("dev").join(name);
        fs::write(&node, "").expect("written");
        mount_bind(Path::new("/dev").join(name), &node).expect("bound");
    }
    fs::write(root.join("dev/console"), "").expect("written");
    mount_bind(root.join("data/console"), root.join("dev/console")).expect("bound");
    std::env::set_current_dir(root).expect("entered");
    rustix::process::pivot_root(".", ".").expect("is the root");
    rustix::mount::unmount(".", UnmountFlags::DETACH).expect("is gone");
    std::env::set_current_dir("/").expect("entered");
    let error = Command::new("/sbin/init").env_clear().env("container", "test").exec();
    panic!("init: {error}");
}

/// A service inside its image: what does it see?
fn probe() {
    let mut seen = String::new();
    let list = |path: &str| {
        let entries = fs::read_dir(path).map(|all| {
            let mut names: Vec<PathBuf> = all.flatten().map(|entry| entry.path()).collect();
            names.sort();
            let names: Vec<String> = names.iter().map(|path| path.display().to_string()).collect();
            names.join(" ")
        });
        entries.unwrap_or_else(|e| e.to_string())
    };
    for path in ["/", "/usr/bin", "/etc", "/data", "/run", "/run/aios", "/dev", "/tmp"] {
        let _ = writeln!(seen, "{path}: {}", list(path));
    }
    let outcome = |what: std::io::Result<()>| what.map_or_else(|e| e.to_string(), |()| "SUCCESS".into());
    let write = |path: &str| outcome(fs::write(path, "x"));
    for path in
        ["/usr/bin/x", "/etc/passwd", "/data/x", "/run/x", "/dev/x", "/tmp/x", "/dev/shm/x", "/data/good/x"]
    {
        let _ = writeln!(seen, "write {path}: {}", write(path));
    }
    let _ = writeln!(seen, "write /run/good/x: {}", write("/run/good/x"));
    let program = "/data/good/program";
    fs::copy("/usr/bin/other", program).expect("copied");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("set");
    let start = |program: &str| outcome(Command::new(program).status().map(drop));
    let _ = writeln!(seen, "start what it wrote: {}", start(program));
    let up = outcome(std::env::set_current_dir("/../../..").and_then(|()| fs::read("etc/secret").map(drop)));
    let _ = writeln!(seen, "above the root: {up}");
    let through = outcome(fs::read("/proc/1/root/etc/secret").map(drop));
    let _ = writeln!(seen, "through init: {through}");
    let status = fs::read_to_string("/proc/self/status").expect("read");
    for line in status
        .lines()
        .filter(|line| ["Uid:", "Gid:", "CapBnd:", "NoNewPrivs:"].iter().any(|w| line.starts_with(w)))
    {
        let _ = writeln!(seen, "{}", line.replace('\t', " "));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read");
    for line in mounts.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[4] == "/" {
            let _ = writeln!(
                seen,
                "root: {} {}",
                words[5],
                line.split(" - ").nth(1).unwrap_or_default().split(' ').next().unwrap_or_default()
            );
        }
    }
    aios_abi::sys::notify("STATUS=seen");
    fs::write("/data/good/seen", seen).expect("written");
}

/// A service of the machine: what became of the others?
fn judge() {
    let Ok(InitReply::List { services, refused }) = ask(InitRequest::List) else { panic!("no list") };
    let mut verdict = refused.join("\n");
    for service in services {
        let _ = writeln!(verdict, "{} {} {:?}", service.name, service.state.as_str(), service.last_exit);
    }
    fs::write("/data/judge/verdict", verdict).expect("written");
    // The machine goes down whatever became of it.
    let commands = std::panic::catch_unwind(judge_commands).unwrap_or_else(|_| "the judge panicked".into());
    fs::write("/data/judge/commands", commands).expect("written");
    drop(ask(InitRequest::PowerOff));
}

/// A command inside its image.
#[expect(clippy::zombie_processes, reason = "one is left behind on purpose")]
fn say(words: &[String]) {
    match words[0].as_str() {
        "words" => {
            let mut input = String::new();
            let read = std::io::Read::read_to_string(&mut std::io::stdin(), &mut input).expect("can be read");
            let own = std::env::var("STATE_DIRECTORY").expect("is set");
            let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            fs::write("/data/good/said", "").expect("its service's directory is its own");
            let here = std::env::current_dir().expect("is somewhere");
            let path = std::env::var("PATH").expect("is set");
            print!("{uid} {own} gid {gid} {} {path}: {}", here.display(), words[1..].join("|"));
            // Standard output has no line end yet, and is written at the latest here.
            std::io::Write::flush(&mut std::io::stdout()).expect("written");
            eprint!(", read {read} bytes");
            std::process::exit(3);
        }
        "flood" => (0..1000).for_each(|_| print!("{}", "x".repeat(1024))),
        "stay" | "stay-on" => {
            println!("it stays");
            loop {
                std::thread::park();
            }
        }
        "leave" => {
            let mut left = Command::new("/usr/bin/probe");
            left.args(["say", "stay-on"]).stdout(std::process::Stdio::null()).spawn().expect("started");
            println!("it left one behind");
        }
        other => panic!("{other}"),
    }
}

/// What becomes of commands.
fn judge_commands() -> String {
    let run = |service: &str, command: &str, arguments: &[&str], how| {
        let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
        ask(InitRequest::Run(RunRequest { service: service.into(), command: command.into(), arguments, how }))
    };
    let outcome = |service: &str, command: &str, arguments: &[&str]| match run(
        service,
        command,
        arguments,
        RunHow::Wait,
    ) {
        Ok(InitReply::Ran(RunOutcome { end, output, omitted_bytes, .. })) => match omitted_bytes {
            0 => format!("{end:?}: {}", output.trim_end()),
            _ => {
                assert_eq!(output.len() as u64 + omitted_bytes, 1000 * 1024);
                assert_eq!(output.len(), MAX_OUTPUT);
                format!("{end:?}: all of {} bytes, the rest is counted", output.len())
            }
        },
        Ok(other) => panic!("not expected: {other:?}"),
        Err(e) => format!("{:?}: {}", e.code, e.message),
    };
    let mut said = String::new();
    let _ = writeln!(said, "say: {}", outcome("good", "say", &["a b", "c"]));
    for command in ["flood", "stay", "leave", "none"] {
        let _ = writeln!(said, "{command}: {}", outcome("good", command, &[]));
    }
    let _ = writeln!(said, "altered: {}", outcome("altered", "say", &[]));
    for (command, how) in [("stay", RunHow::Look), ("sh", RunHow::Wait)] {
        run("good", command, &[], how).expect_err("is refused");
    }
    // In the background its lines are in the service's log.
    let Ok(InitReply::Running(info)) = run("good", "flood", &[], RunHow::Background) else {
        panic!("is not in the background")
    };
    let mut seen = Vec::new();
    while seen.is_empty() {
        let wanted = InitRequest::Logs {
            unit: Some("init".into()),
            contains: Some(format!("flood {} exited", info.number)),
            limit: 1,
            follow: false,
        };
        let Ok(InitReply::Logs { lines, .. }) = ask(wanted) else { panic!("no lines") };
        seen = lines;
        std::thread::yield_now();
    }
    let _ = writeln!(said, "spawn: {:?}", RunEnd::Exited(0));
    let Ok(InitReply::Commands { running, commands }) = ask(InitRequest::Commands) else { panic!("no list") };
    assert_eq!(commands.iter().filter(|command| command.service == "good").count(), 5);
    let _ = writeln!(said, "still running: {running:?}");
    let Ok(InitReply::Status(status)) = ask(InitRequest::Status { name: "good".into() }) else {
        panic!("no status")
    };
    let _ = writeln!(said, "the service: {}", status.state.as_str());
    let groups = fs::read_dir("/sys/fs/cgroup/aios").expect("is there").flatten();
    let groups = groups.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let left: Vec<_> = groups.map(|e| e.file_name()).filter(|n| n.to_string_lossy().contains('.')).collect();
    assert!(left.is_empty(), "cgroups of commands: {left:?}");
    said
}

fn ask(body: InitRequest) -> Result<InitReply, CallError> {
    let fd = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    connect(&fd, &SocketAddrUnix::new(paths::INIT_SOCKET).expect("a path")).expect("init listens");
    let request = ClientFrame::Request(Request { id: 1, meta: Meta::why("test"), body });
    send(&fd, &frame::encode(&request).expect("encodes"), SendFlags::empty()).expect("sent");
    let mut buffer = vec![0; frame::MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&fd, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::empty());
    let length = received.expect("an answer").bytes;
    match frame::decode::<ServerFrame<InitEvent, InitReply>>(&buffer[..length])? {
        ServerFrame::Reply { result, .. } => result,
        // A long one comes in a memory file.
        ServerFrame::Large { len, .. } => {
            let files = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(files) => Some(files),
                _ => None,
            });
            let file = files.flatten().next().expect("a file");
            match frame::decode(&aios_abi::sys::read_sealed(file, len)?)? {
                ServerFrame::<InitEvent, InitReply>::Reply { result, .. } => result,
                other => panic!("not expected: {other:?}"),
            }
        }
        ServerFrame::Refused { error } => Err(error),
        other => panic!("not expected: {other:?}"),
    }
}
