//! The command line's grammar.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  tried and failed (for ask: a call that it made failed or was refused), or a proof did not hold
  2  the command line or an argument is not right
  3  not logged in, or refused by the policy
  4  the machine or one of its daemons does not answer, is late or busy: try again
  5  what was named does not exist

Files:
  $XDG_CONFIG_HOME/aios/config.toml   machines and tokens (0600)
  $XDG_CONFIG_HOME/aios/witness.toml  the newest audit record that was proved, of each machine";

/// Talk to an aiOS appliance.
#[derive(Debug, Parser)]
#[command(name = "aiosctl", version, after_long_help = EXIT_STATUS, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print JSON: what the API answered, and errors as {"code", "message"}
    #[arg(long, global = true)]
    pub json: bool,
    /// Use the machine that is remembered under this name; login and claim remember it so
    ///
    /// Without it, AIOS_CONTEXT names the machine, or it is the one that was logged into last.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Log in to a machine and remember it
    Login(Login),
    /// Make a new machine yours with the claim code that it shows when it starts, and log in
    Claim(Claim),
    /// Give the token back and forget the machine
    Logout,
    /// Choose a password of your own; your other logins end
    Password(Password),
    /// Ask a question or give a command in plain words
    Ask {
        /// The words
        #[arg(required = true, value_name = "TEXT")]
        text: Vec<String>,
        /// Only say which calls the words mean
        #[arg(long)]
        dry_run: bool,
    },
    /// Measure how well the machine understands
    #[command(subcommand)]
    Eval(Eval),
    /// What the machine can do
    #[command(subcommand)]
    Tools(Tools),
    /// What runs on the machine, and service files
    #[command(subcommand, visible_alias = "services")]
    Service(Service),
    /// What the services, init and the kernel say
    Logs(Logs),
    /// What was done, by whom and why, and the proof of it
    #[command(subcommand)]
    Audit(Audit),
    /// Take a change back
    Undo {
        /// Number of the audit record that began it
        #[arg(value_name = "ID")]
        audit: u64,
        /// The reason, for the audit log
        #[arg(long)]
        why: Option<String>,
    },
    /// How the machine is
    Status,
    /// The key of its owner for recovery mode, which the machine asks for on its own terminal
    #[command(subcommand)]
    Recovery(Recovery),
    /// Serve the machine's tools to an assistant on this computer (Model Context Protocol, over stdin and stdout)
    Mcp,
    /// Print the completions of a shell
    Completion(Completion),
}

/// `completion`
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Where the machine is, and which one it is.
#[derive(Debug, Args)]
pub(crate) struct Machine {
    /// The console's address, such as https://192.168.1.20
    pub url: String,
    /// SHA-256 of the machine's certificate, as the machine shows it when it starts; without it you are asked
    #[arg(long, value_name = "SHA256")]
    pub fingerprint: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// `login`
#[derive(Debug, Args)]
pub(crate) struct Login {
    #[command(flatten)]
    pub machine: Machine,
    /// Login name
    #[arg(long)]
    pub user: Option<String>,
}

/// `password`
#[derive(Debug, Args)]
pub(crate) struct Password {
    /// The console's address, for a first login with a password that was made for you; without it, the machine that
    /// you are logged in to
    pub url: Option<String>,
    /// SHA-256 of the machine's certificate, as the machine shows it when it starts; without it you are asked
    #[arg(long, value_name = "SHA256", requires = "url")]
    pub fingerprint: Option<String>,
    /// Login name
    #[arg(long, requires = "url")]
    pub user: Option<String>,
    /// Read the present password from standard input, and the new one from its next line
    #[arg(long)]
    pub password_stdin: bool,
}

/// `claim`
#[derive(Debug, Args)]
pub(crate) struct Claim {
    #[command(flatten)]
    pub machine: Machine,
    /// The claim code that the machine shows when it starts
    #[arg(long, value_name = "XXXX-XXXX-XXXX")]
    pub code: Option<String>,
    /// The administrator's login name
    #[arg(long)]
    pub user: Option<String>,
}

/// `eval`
#[derive(Debug, Subcommand)]
pub(crate) enum Eval {
    /// How often the right tool and the right arguments are found; nothing is called
    Tools {
        /// JSON Lines: {"ask": "…", "tool": "fs.read", "args": {"path": "/etc/hosts"}} a line; "tool" is null where none fits
        #[arg(value_name = "FILE.jsonl")]
        file: PathBuf,
        /// Also list what was not understood rightly
        #[arg(long)]
        wrong: bool,
    },
}

/// `tools`
#[derive(Debug, Subcommand)]
pub(crate) enum Tools {
    /// List them
    List,
    /// Show one: its arguments, what it may touch, examples
    Show {
        /// The tool's name, such as fs.read
        name: String,
    },
    /// Call one
    Call(Call),
    /// Make several changes as one: all of them, or none
    Together {
        /// A JSON list of objects with `tool` and `args`, or the file - to read it from standard input
        file: PathBuf,
        /// The reason, for the audit log
        #[arg(long)]
        why: Option<String>,
        /// A name of your own for this request: sent again under it, nothing is changed again
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
}

/// `tools call`
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The tool's name, such as fs.read
    pub name: String,
    /// Its arguments
    #[arg(value_name = "KEY=VALUE")]
    pub args: Vec<String>,
    /// All arguments as one JSON object, or the value - to read it from standard input
    #[arg(long = "args", value_name = "JSON", conflicts_with = "args")]
    pub object: Option<String>,
    /// The reason, for the audit log
    #[arg(long)]
    pub why: Option<String>,
    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,
    /// The reason is what you asked the machine for in words: it may learn from it
    #[arg(long)]
    pub asked: bool,
    /// A name of your own for this request, such as a UUID: sent again under it, the change is not made again
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `service`; what else a machine can do with its services, its tools say.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// List them
    List,
    /// Check service files on this computer: what a machine would refuse, and what is unwise
    Lint(Lint),
    /// Score how much a service could do to the machine, from 0.0 to 10.0, and say why
    Security {
        /// The service's name; without it, all are scored
        name: Option<String>,
    },
}

/// `service lint`
#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// The files; what one requires of another is checked when both are given
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The root of the image that they are for: its users and services are known then
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
}

/// `recovery`
#[derive(Debug, Subcommand)]
pub(crate) enum Recovery {
    /// Make a key on this computer, and show the half that the machine gets
    New {
        /// A file that is not there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Sign what the machine shows: good for this machine until it restarts
    Sign {
        /// The file with the key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// What stands behind "challenge:" on the machine's terminal
        #[arg(value_name = "CHALLENGE")]
        challenge: String,
    },
}

/// `logs`
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Only lines of this service (or init, kernel)
    #[arg(long, short = 'u', value_name = "NAME")]
    pub unit: Option<String>,
    /// Only lines that contain this text, in either case
    #[arg(long, short = 'g', value_name = "TEXT")]
    pub grep: Option<String>,
    /// At most this many lines, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
    /// Go on with new lines as they come (with --json: one document a line)
    #[arg(short = 'f', long)]
    pub follow: bool,
}

/// `audit`
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List the newest records
    List {
        /// At most this many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 30)]
        lines: u32,
        /// Begin with this record instead
        #[arg(long, value_name = "ID")]
        from: Option<u64>,
    },
    /// Write the whole log to a file, one record a line, the signed head last, and prove it
    Export {
        /// The file; it must not be there yet
        file: PathBuf,
    },
    /// Prove that nothing in the log was altered or removed
    Verify {
        /// Prove this exported file; no machine is needed
        #[arg(long)]
        file: Option<PathBuf>,
        /// The public key that must have signed the log
        #[arg(long, value_name = "HEX")]
        key: Option<String>,
        /// The log is another one for a known reason: forget what was proved before
        #[arg(long)]
        forget: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn words_of_a_question_need_no_quotes() {
        let cli = Cli::try_parse_from(["aiosctl", "ask", "how", "much", "memory?"]).expect("parses");
        assert!(
            matches!(cli.command, Command::Ask { text, dry_run: false } if text.join(" ") == "how much memory?")
        );
    }
}
