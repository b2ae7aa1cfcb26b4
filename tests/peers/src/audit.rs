//! Durable records one after the other: our chain, a plain file that is synced, SQLite.

use crate::{ANSWERED, micros};
use aios_abi::audit::{CallRecord, Entry};
use aios_abi::tool::Effect;
use aios_toold::audit::{Log, Need};
use anyhow::Result;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

fn entry() -> Entry {
    let call = CallRecord {
        tool: "fs.write".into(),
        effect: Effect::Reversible,
        args: "x".repeat(ANSWERED),
        why: "bench".into(),
        incident: None,
        by: "root".into(),
        person: None,
    };
    Entry::Begin { call, undoable: false }
}

/// Times between records of the chain, from so many callers who each wait for the disk.
pub(crate) fn chain(count: usize, callers: usize, folder: &Path) -> Result<Vec<f64>> {
    let (log, _) = Log::open(folder, "bench", "bench")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        log.append(entry(), Need::Durable).await?;
        let begun = Instant::now();
        if callers == 1 {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let begun = Instant::now();
                log.append(entry(), Need::Durable).await?;
                times.push(micros(begun));
            }
            return Ok(times);
        }
        let each = count.div_ceil(callers);
        let work: Vec<_> = (0..callers)
            .map(|_| {
                let log = log.clone();
                tokio::spawn(async move {
                    for _ in 0..each {
                        log.append(entry(), Need::Durable).await?;
                    }
                    Ok::<_, aios_abi::CallError>(())
                })
            })
            .collect();
        for caller in work {
            caller.await??;
        }
        // One figure: what a record took when all are counted.
        Ok(vec![micros(begun) / (each * callers) as f64])
    })
}

/// Appended and synced.
pub(crate) fn plain(count: usize, folder: &Path) -> Result<Vec<f64>> {
    let mut file = File::create(folder.join("plain"))?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&[0; ANSWERED])?;
        file.sync_data()?;
        times.push(micros(begun));
    }
    Ok(times)
}

/// A row and a commit each, as durable as SQLite makes it.
pub(crate) fn sqlite(count: usize, folder: &Path) -> Result<Vec<f64>> {
    let database = rusqlite::Connection::open(folder.join("sqlite"))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch("CREATE TABLE IF NOT EXISTS records (seq INTEGER PRIMARY KEY, record BLOB)")?;
    let mut insert = database.prepare("INSERT INTO records (record) VALUES (?1)")?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        insert.execute([[0_u8; ANSWERED].as_slice()])?;
        times.push(micros(begun));
    }
    Ok(times)
}
