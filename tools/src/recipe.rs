//! In tests of tools, in place of init: the commands of an extension's services are run as their files say, with the programs
//! of its recipe, beside whatever real program they are about.

use crate::ctx::House;
use crate::reach::Question;
use crate::worker::Answer;
use aios_abi::CallError;
use aios_abi::run::{RunEnd, RunHow, RunOutcome};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Progress;
use aios_unit::{Unit, Users};
use rustix::process::getuid;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An extension's recipe, and where its directories of the machine are.
pub(crate) struct Recipe {
    folder: PathBuf,
    places: Vec<(&'static str, PathBuf)>,
    /// As whom its programs run, for root.
    uid: Option<u32>,
}

impl Recipe {
    /// That of the extension with this name.
    pub(crate) fn new(name: &str, places: &[(&'static str, &Path)], uid: Option<u32>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image/extensions").join(name);
        let places = places.iter().map(|(place, here)| (*place, here.to_path_buf())).collect();
        Self { folder, places, uid: uid.filter(|_| getuid().is_root()) }
    }

    /// One of its services.
    pub(crate) fn unit(&self, service: &str) -> Unit {
        let path = self.folder.join("services").join(service).with_extension("toml");
        let text = std::fs::read_to_string(&path).expect("reads");
        let text = text.replace("{image}", "/data/extensions/x");
        aios_unit::parse(&path, &text, &Users::default()).expect("a service")
    }

    /// A word of a service file, as it is meant here.
    pub(crate) fn here(&self, word: &str) -> String {
        let replaced =
            |word: String, (place, here): &(&str, PathBuf)| word.replace(place, &here.display().to_string());
        self.places.iter().fold(word.to_owned(), replaced)
    }

    /// A program of the recipe's own.
    pub(crate) fn program(&self, path: &str) -> Command {
        self.as_user(self.folder.join("root").join(path.trim_start_matches('/')))
    }

    /// Any program, as the user of the recipe's services.
    pub(crate) fn as_user(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command.stdin(Stdio::null()).current_dir("/");
        command
    }
}

impl House for Recipe {
    fn ask(&self, question: Question) -> Result<Answer, CallError> {
        let Question::Init(InitRequest::Run(request)) = question else { panic!("{question:?}") };
        let unit = self.unit(&request.service);
        let command = unit.commands.iter().find(|one| one.name == request.command).expect("is declared");
        assert!(!(command.changes && request.how == RunHow::Look), "{} may change something", command.name);
        let (program, words) = command.exec.split_first().expect("a program");
        let mut process = self.program(program);
        process.envs(unit.environment.iter().map(|(name, value)| (name, self.here(value))));
        let output = process.args(words).args(&request.arguments).output().expect("starts");
        Ok(Answer::Init(InitReply::Ran(RunOutcome {
            end: RunEnd::Exited(output.status.code().expect("ends")),
            output: String::from_utf8([output.stdout, output.stderr].concat()).expect("text"),
            omitted_bytes: 0,
            duration_ms: 1,
        })))
    }

    fn progress(&self, _progress: Progress) {}
}
