//! toold, its workshop and the console as they are, without a machine around them, and `aiosctl` in front of them.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

pub const PASSWORD: &str = "correct horse battery";

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").into()
}

/// Programs that were built for this test, and ended with it.
pub struct House {
    pub folder: tempfile::TempDir,
    pub url: String,
    programs: Vec<Child>,
}

/// The folder of the programs, built now if they are not what their sources say.
fn built() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(build);
    &FOLDER
}

/// The broker with one tool more.
pub fn sample_toold() -> PathBuf {
    built().join("sample/aios-toold")
}

fn build() -> PathBuf {
    // target/TRIPLE/release/deps/interfaces-…
    let own = std::env::current_exe().expect("a path");
    let bin = own.parent().and_then(Path::parent).expect("a folder");
    // Without packages named, dependencies have the features that they have in every other build. The sample comes first
    // and is put aside: what stays is the true broker.
    // It is used for seconds and need not be fast.
    let plain = "profile.release.package.aios-toold.opt-level=0";
    cargo(&["--bin", "aios-toold", "--features", "aios-toold/sample", "--config", plain]);
    std::fs::create_dir_all(bin.join("sample")).expect("made");
    std::fs::copy(bin.join("aios-toold"), bin.join("sample/aios-toold")).expect("copied");
    cargo(&["--bin", "aios-toold", "--bin", "aios-console", "--bin", "aiosctl"]);
    bin.into()
}

fn cargo(what: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo told this test of its package is no reason for build scripts to build everything anew, there and back.
    let told = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"].iter().any(|begin| name.starts_with(begin))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| told(name)) {
        cargo.env_remove(name);
    }
    let done = cargo.current_dir(root()).args(["build", "--release", "--quiet"]).args(what).status();
    assert!(done.expect("cargo starts").success(), "{what:?} cannot be built");
}

impl House {
    /// A house that is claimed, and an administrator who is logged in.
    pub fn start() -> Self {
        Self::of(&built().join("aios-toold"))
    }

    /// The same with the sample tool.
    pub fn with_sample() -> Self {
        Self::of(&sample_toold())
    }

    fn of(broker: &Path) -> Self {
        let bin = built();
        let mut house =
            Self { folder: tempfile::tempdir().expect("a folder"), url: String::new(), programs: Vec::new() };
        let path = |name: &str| house.folder.path().join(name);
        std::fs::create_dir(path("run")).expect("made");
        std::fs::create_dir(path("files")).expect("made");
        let mut workshop = Command::new(broker);
        workshop.arg("--be-workshop").arg("--socket").arg(path("run/workshop.sock"));
        let mut toold = Command::new(broker);
        toold.arg("--socket").arg(path("run/toold.sock")).arg("--workshop").arg(path("run/workshop.sock"));
        toold.arg("--data").arg(path("toold")).arg("--console").arg(path("run/console.sock"));
        let mut console = Command::new(bin.join("aios-console"));
        console.args(["--listen", "127.0.0.1:0"]).arg("--run").arg(path("run"));
        console.arg("--mcp").arg(path("run/mcp.sock")).arg("--accounts").arg(path("run/console.sock"));
        console.arg("--data").arg(path("console")).arg("--network").arg(path("network"));
        console.stderr(Stdio::piped());
        for command in [workshop, toold] {
            house.add(command);
        }
        let console = house.add(console);
        let mut said = BufReader::new(console.stderr.take().expect("piped")).lines();
        let mut word = |start: &str| {
            let line = said
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| line.strip_prefix(start).map(str::to_owned));
            line.unwrap_or_else(|| panic!("the console does not say {start:?}"))
        };
        let port = word("aios: console ready https://")
            .trim_end_matches('/')
            .rsplit_once(':')
            .expect("a port")
            .1
            .to_owned();
        let fingerprint = word("aios: certificate sha256 ");
        let code = word("aios: claim code ");
        // Its log goes on; a full pipe would stop it.
        std::thread::spawn(move || said.for_each(drop));
        house.url = format!("https://127.0.0.1:{port}");
        let claim =
            ["claim", &house.url, "--code", &code, "--user", "ada", "--password-stdin", "--fingerprint"];
        let claimed = house.aiosctl(&[&claim[..], &[&fingerprint]].concat(), PASSWORD);
        assert!(claimed.status.success(), "{}", said_by(&claimed));
        house
    }

    /// Start a program and wait until it says that it is ready (sd_notify(3)).
    fn add(&mut self, mut command: Command) -> &mut Child {
        let says = self.folder.path().join("notify");
        let said = UnixDatagram::bind(&says).expect("a socket");
        self.programs.push(command.env("NOTIFY_SOCKET", &says).spawn().expect("starts"));
        let mut word = [0; 16];
        let length = said.recv(&mut word).expect("is told");
        assert_eq!(&word[..length], b"READY=1");
        std::fs::remove_file(&says).expect("is removed");
        self.programs.last_mut().expect("was pushed")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `aiosctl` as a command, with the saved login.
    pub fn command(&self) -> Command {
        let mut command = Command::new(built().join("aiosctl"));
        command.env("XDG_CONFIG_HOME", self.path("home")).env("XDG_CACHE_HOME", self.path("cache"));
        command.env_remove("AIOS_CONTEXT");
        command
    }

    pub fn aiosctl(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        // A command that does not read its input may have ended already.
        let _ = writeln!(child.stdin.take().expect("piped"), "{input}");
        child.wait_with_output().expect("ends")
    }

    /// What `aiosctl --json` prints.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.aiosctl(&[&["--json"], arguments].concat(), "");
        assert!(output.status.success(), "{arguments:?}: {}", said_by(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said_by(&output)))
    }

    /// The token of the login.
    pub fn token(&self) -> String {
        let config =
            std::fs::read_to_string(self.path("home/aios/config.toml")).expect("the login is remembered");
        let line = config.lines().find_map(|line| line.strip_prefix("token = \"")?.strip_suffix('"'));
        line.expect("a token").to_owned()
    }

    /// A program of the tests' own Python, which `scripts/deps.sh test` made.
    pub fn python(&self, script: &str, arguments: &[&str]) -> Output {
        let python = root().join("target/python/bin/python");
        assert!(python.exists(), "{} is missing; run scripts/deps.sh test", python.display());
        Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interfaces").join(script))
            .args(arguments)
            .env("HOUSE_URL", &self.url)
            .env("HOUSE_TOKEN", self.token())
            .env("HOUSE_CERTIFICATE", self.path("console/cert.pem"))
            .env("HOUSE_RUN", self.path("run"))
            .env("HOUSE_FILES", self.path("files"))
            .env("HOUSE_AIOSCTL", built().join("aiosctl"))
            .env("XDG_CONFIG_HOME", self.path("home"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .output()
            .expect("starts")
    }
}

/// What a program said on both channels.
pub fn said_by(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

impl Drop for House {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
