//! inferd with both workers, as the machine has it.

use super::Peers;
use crate::process::Running;
use aios_abi::call::Meta;
use aios_abi::client::Client;
use aios_abi::infer::{EngineState, Infer, InferReply, InferRequest};
use anyhow::{Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    pub(crate) process: Running,
    pub(crate) client: Client<Infer>,
    pub(crate) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// Start it with these files of the image's models, and wait until both engines are ready.
    pub(crate) async fn start(peers: &Peers<'_>, files: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (engines, models) = (folder.path().join("engines"), folder.path().join("models"));
        for folder in [&engines, &models] {
            std::fs::create_dir(folder)?;
        }
        std::os::unix::fs::symlink(peers.worker, engines.join("llama"))?;
        std::os::unix::fs::symlink(peers.embedder, engines.join("candle"))?;
        for name in files {
            std::os::unix::fs::symlink(peers.models.join(name), models.join(name))?;
        }
        let socket = folder.path().join("inferd.sock");
        let mut command = Command::new(peers.inferd);
        command.arg("--socket").arg(&socket).arg("--engines").arg(&engines).arg("--models").arg(&models);
        let process = Running::start(command.args(["--threads", &super::threads()]))?;
        let client = Client::<Infer>::at(&socket);
        let begin = Instant::now();
        loop {
            let status = client.call(Meta::why("bench"), InferRequest::Status).await;
            if let Ok(InferReply::Status(status)) = &status
                && status.embed.state == EngineState::Ready
                && status.tiers.first().is_some_and(|tier| tier.engine.state == EngineState::Ready)
            {
                return Ok(Self { process, client, socket, _folder: folder });
            }
            ensure!(begin.elapsed() < PATIENCE, "inferd does not become ready: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
