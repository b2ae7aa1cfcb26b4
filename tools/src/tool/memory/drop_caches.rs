//! `memory.drop_caches`

use crate::ctx::Ctx;
use crate::declaration::{Change, Declaration, Make, Preview, no_paths};
use crate::policy::Target;
use crate::reach::{Asks, Needs};
use crate::tool::process::shared::human_bytes;
use crate::tool::service::shared::{ask, unexpected};
use aios_abi::service::{InitReply, InitRequest};
use aios_abi::tool::Effect;
use aios_abi::{CallError, who::Role};
use procfs::{Current, Meminfo};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Have the kernel forget what it keeps of disks in memory. It would give that back by itself when somebody needs it: this is for
/// measuring, and for letting go of caches at once. Nothing that is to be written is lost.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// Which caches.
    #[serde(default)]
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum What {
    /// Contents of files.
    Files,
    /// Directories and inodes.
    Names,
    /// Both.
    #[default]
    All,
}

impl What {
    /// As the kernel numbers them (Documentation/admin-guide/sysctl/vm.rst).
    fn number(self) -> u8 {
        match self {
            Self::Files => 1,
            Self::Names => 2,
            Self::All => 3,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Dropped {
    /// Bytes of caches before.
    before: u64,
    /// Bytes of caches now.
    after: u64,
}

/// The tool.
pub static TOOL: &Declaration = &Declaration {
    number: 181,
    name: "memory.drop_caches",
    summary: "Have the kernel drop its caches of files, directories and inodes",
    effect: Effect::Irreversible,
    touches: &["caches of the kernel"],
    role: Role::Operator,
    timeout_ms: 60_000,
    examples: &[
        ("drop the page cache", r#"{"what":"files"}"#),
        ("empty the disk caches in memory", "{}"),
        ("flush cached dentries and inodes", r#"{"what":"names"}"#),
        ("echo 3 > /proc/sys/vm/drop_caches", r#"{"what":"all"}"#),
        ("clear the kernel caches before a measurement", "{}"),
    ],
    needs: Needs::NOTHING.read(&["/proc/meminfo"]).asks(&[Asks::InitToAct]),
    code: &Make { paths: no_paths, prepare, summary, undo: None },
};

struct Drop {
    what: What,
    before: u64,
}

/// Bytes that the kernel keeps of files, and of directories and inodes that it can give back.
fn caches() -> Result<u64, CallError> {
    let info = Meminfo::current().map_err(|e| CallError::failed(format!("/proc/meminfo: {e}")))?;
    Ok(info.cached + info.buffers + info.s_reclaimable.unwrap_or(0))
}

fn prepare(_ctx: &Ctx, args: Args) -> Result<Drop, CallError> {
    Ok(Drop { what: args.what, before: caches()? })
}

impl Change for Drop {
    type Output = Dropped;

    fn target(&self) -> Target {
        Target::Machine
    }

    fn preview(&self) -> Preview {
        Preview {
            would: format!("drop what is not in use of {} of caches", human_bytes(self.before)),
            diff: None,
        }
    }

    fn apply(&mut self, ctx: &Ctx) -> Result<Dropped, CallError> {
        match ask(ctx, InitRequest::DropCaches { what: self.what.number() })? {
            InitReply::Accepted => Ok(Dropped { before: self.before, after: caches()? }),
            _ => Err(unexpected()),
        }
    }
}

fn summary(dropped: &Dropped) -> String {
    let Dropped { before, after } = dropped;
    format!("the kernel's caches have {} now, were {}", human_bytes(*after), human_bytes(*before))
}
