//! Which kernels compute best on this machine.
//!
//! The worker is installed several times, each linked with kernels for another instruction set: `llama` for x86-64-v3, and
//! beside it `llama-avx512` and others, `llama-vulkan` and `llama-cuda` for graphics processors. What a processor claims to have it does not always have (an emulator, a hypervisor
//! that hides state, a kernel that does not save registers), and the widest instructions are not always the fastest. So
//! each is tried with the model, in a process of its own, and the fastest that computes right is used.

use crate::BASE;
use crate::gpu;
use crate::trial::Trial;
use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a trial may take, and all together: inferd waits 30 s for a worker's first word. A graphics processor, whose driver
/// compiles the kernels the first time, may take all that is left.
const LIMIT: Duration = Duration::from_secs(8);
const LIMIT_OF_ALL: Duration = Duration::from_secs(20);
/// What is said of a trial that took longer, as with a large model on a slow disk. It says nothing of the kernels.
const SLOW: &str = "the model takes too long to load for a trial";
/// By how much the likelihood of a text may differ between kernels that round differently, a token in the mean.
const TOLERANCE: f64 = 0.1;
/// Bytes of what a trial says that are read.
const MAX_SAID: u64 = 4096;

/// A program that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    program: PathBuf,
    /// Its kernels, and what came of the others.
    found: String,
}

/// What is remembered of trials.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    /// What it was found with; anything else is tried anew.
    with: String,
    best: Best,
}

/// A program and its kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    kernels: String,
    program: PathBuf,
}

/// Whether the processor claims to have what these kernels need.
///
/// # Errors
/// What it lacks.
pub fn claimed(kernels: &str) -> Result<(), String> {
    macro_rules! lacking {
        ($($feature:tt)*) => { [$(($feature, std::arch::is_x86_feature_detected!($feature))),*] };
    }
    let base = lacking!("avx2" "fma" "f16c" "bmi2");
    let avx_vnni = lacking!("avxvnni");
    let avx512 = lacking!("avx512f" "avx512cd" "avx512bw" "avx512dq" "avx512vl");
    let vnni = lacking!("avx512vbmi" "avx512vnni");
    let needed: Vec<(&str, bool)> = match kernels {
        "avx-vnni" => base.into_iter().chain(avx_vnni).collect(),
        "avx512" => base.into_iter().chain(avx512).collect(),
        "avx512-vnni" => base.into_iter().chain(avx512).chain(vnni).collect(),
        _ => base.to_vec(),
    };
    let missing: Vec<&str> = needed.into_iter().filter(|(_, is)| !is).map(|(feature, _)| feature).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!("the processor has no {}", missing.join(", "))),
    }
}

/// Try all programs that stand beside this one with a model, or remember what came of it.
///
/// # Errors
/// One sentence when none of them can compute.
pub fn choose(model: &Path, memory: Option<&Path>, most: Option<u64>) -> Result<Best, String> {
    let own = std::env::current_exe().map_err(|e| format!("the worker's own program is not known: {e}"))?;
    let candidates = candidates(&own);
    let with = circumstances(model, &candidates);
    if let Some(best) = memory.and_then(|path| remembered(path, &with)) {
        return Ok(best);
    }
    // What is no file (a pipe of a test) can be read once only.
    let is_file = std::fs::metadata(model).is_ok_and(|about| about.is_file());
    let end = Instant::now() + LIMIT_OF_ALL;
    let tried: Vec<(Candidate, Result<Trial, String>)> = candidates
        .into_iter()
        .map(|candidate| {
            let mut left = end.saturating_duration_since(Instant::now());
            if !gpu::is_gpu(&candidate.kernels) {
                left = left.min(LIMIT);
            }
            let result = match is_file && !left.is_zero() {
                true => try_out(&candidate.program, model, left, most),
                false => Err(SLOW.to_owned()),
            };
            (candidate, result)
        })
        .collect();
    let best = judge(&tried)?;
    // What was not tried is tried another time.
    if let (Some(path), true) =
        (memory, tried.iter().all(|(_, result)| !matches!(result, Err(why) if why == SLOW)))
    {
        remember(path, &Remembered { with, best: best.clone() });
    }
    Ok(best)
}

impl Best {
    /// Go on as this program, with the same arguments. It returns what was found if that is this program already.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn become_it(&self) -> Result<String, String> {
        if std::env::current_exe().is_ok_and(|own| own == self.program) {
            return Ok(self.found.clone());
        }
        let arguments = std::env::args_os().skip(1);
        let error = Command::new(&self.program).args(arguments).arg("--kernels").arg(&self.found).exec();
        Err(format!("{} cannot be started: {error}", self.program.display()))
    }
}

/// The program itself and those beside it whose names go on after its own.
fn candidates(own: &Path) -> Vec<Candidate> {
    let mut all = vec![Candidate { kernels: BASE.to_owned(), program: own.to_owned() }];
    let (Some(folder), Some(name)) = (own.parent(), own.file_name().and_then(|name| name.to_str())) else {
        return all;
    };
    let is_program = |about: Metadata| about.is_file() && about.permissions().mode() & 0o111 != 0;
    let beside = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let file = entry.file_name();
        let kernels = file.to_str()?.strip_prefix(name)?.strip_prefix('-')?.to_owned();
        // A link is followed.
        let program = entry.path();
        std::fs::metadata(&program).is_ok_and(is_program).then_some(Candidate { kernels, program })
    });
    all.extend(beside);
    all[1..].sort_by(|a, b| a.kernels.cmp(&b.kernels));
    all
}

/// All on which the result of trials depends.
fn circumstances(model: &Path, candidates: &[Candidate]) -> String {
    let file = |path: &Path| match std::fs::metadata(path) {
        Ok(about) => format!("{} {} {}", path.display(), about.len(), about.mtime()),
        Err(_) => path.display().to_string(),
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let about = ["model name", "microcode", "flags"]
        .map(|name| processor.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned());
    let files = candidates.iter().map(|candidate| file(&candidate.program)).chain([file(model)]);
    about.into_iter().chain(files).collect::<Vec<_>>().join("\n")
}

fn remembered(path: &Path, with: &str) -> Option<Best> {
    let text = std::fs::read(path).ok()?;
    let remembered: Remembered = serde_json::from_slice(&text).ok()?;
    (remembered.with == with).then_some(remembered.best)
}

/// A memory that cannot be written costs a trial at the next start, nothing else.
fn remember(path: &Path, remembered: &Remembered) {
    let written = serde_json::to_vec(remembered).map_err(std::io::Error::other).and_then(|text| {
        let part = path.with_extension("part");
        std::fs::write(&part, text)?;
        std::fs::rename(part, path)
    });
    if let Err(error) = written {
        eprintln!("<5>{}: which kernels are best is not remembered: {error}", path.display());
    }
}

/// Compute a little in a process of its own.
fn try_out(program: &Path, model: &Path, limit: Duration, most: Option<u64>) -> Result<Trial, String> {
    let mut command = Command::new(program);
    if let Some(most) = most {
        command.arg("--gpu-memory").arg(most.to_string());
    }
    let mut child = command
        // One thread: several that wait for each other measure what else runs.
        .args(["--trial", "--stdio", "--threads", "1", "--model"])
        .arg(model)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("cannot be started: {e}"))?;
    let (tell, told) = mpsc::channel();
    let output = child.stdout.take();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        if let Some(output) = output {
            // What is no text is no result.
            let _ = output.take(MAX_SAID).read_to_string(&mut said);
        }
        let _ = tell.send(said);
    });
    let said = told.recv_timeout(limit);
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| format!("its end is not known: {e}"))?;
    let _ = reading.join();
    let said = said.map_err(|_| SLOW.to_owned())?;
    let line = said.lines().next().unwrap_or_default();
    match (status.success(), status.signal()) {
        (true, _) => line.parse().map_err(|()| "it said nothing that can be understood".to_owned()),
        (false, Some(signal)) => Err(format!("it was killed by signal {signal}")),
        (false, None) if line.is_empty() => Err("it failed without a word".to_owned()),
        (false, None) => Err(line.to_owned()),
    }
}

/// The fastest that computes as the base does; without a base the fastest that computes.
fn judge(tried: &[(Candidate, Result<Trial, String>)]) -> Result<Best, String> {
    let base = tried.iter().find(|(candidate, _)| candidate.kernels == BASE);
    let reference = base.and_then(|(_, result)| result.as_ref().ok());
    let judged: Vec<(&Candidate, Result<&Trial, String>)> = tried
        .iter()
        .map(|(candidate, result)| {
            let result = match (result, reference) {
                (Ok(trial), Some(base)) if (trial.likelihood - base.likelihood).abs() > TOLERANCE => {
                    Err("it computes something else".to_owned())
                }
                (Ok(trial), _) => Ok(trial),
                (Err(why), _) => Err(why.clone()),
            };
            (candidate, result)
        })
        .collect();
    // Most of an answer's time is writing; of kernels that write equally fast the one that reads faster.
    let time = |trial: &Trial| 0.25 / trial.read + 1.0 / trial.written;
    let working = judged.iter().filter_map(|(candidate, result)| Some((*candidate, *result.as_ref().ok()?)));
    let best = working.min_by(|a, b| time(a.1).total_cmp(&time(b.1)));
    let said = judged.iter().map(|(candidate, result)| match result {
        Ok(trial) => format!("{} {:.0}/{:.0} tok/s", candidate.kernels, trial.read, trial.written),
        Err(why) => format!("{}: {why}", candidate.kernels),
    });
    let said = said.collect::<Vec<_>>().join("; ");
    eprintln!("<6>kernels: {said}");
    let untried = base.filter(|(_, result)| result.as_ref().is_err_and(|why| why == SLOW));
    let Some(best) = best.map(|(best, _)| best).or(untried.map(|(base, _)| base)) else {
        // What all of them say is not about kernels: it is the model.
        let mut reasons = tried.iter().filter(|(candidate, _)| claimed(&candidate.kernels).is_ok());
        if let Some((_, Err(why))) = reasons.next()
            && reasons.all(|(_, result)| result.as_ref() == Err(why))
            && !why.starts_with("it ")
        {
            return Err(why.clone());
        }
        return Err(format!(
            "none of the kernels works on this processor ({said}); they need AVX2, FMA, F16C and BMI2"
        ));
    };
    let mut found = format!("{} kernels", best.kernels);
    // What a processor does not claim to have surprises nobody.
    for (candidate, result) in judged.iter().filter(|(candidate, _)| claimed(&candidate.kernels).is_ok()) {
        if let Err(why) = result {
            found.push_str(&format!("; not {}: {why}", candidate.kernels));
        }
    }
    Ok(Best { program: best.program.clone(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kernels: &str, result: Result<(f64, f64, f64), &str>) -> (Candidate, Result<Trial, String>) {
        let candidate = Candidate { kernels: kernels.into(), program: kernels.into() };
        let trial = result.map(|(read, written, likelihood)| Trial { read, written, likelihood });
        (candidate, trial.map_err(str::to_owned))
    }

    #[test]
    fn the_fastest_that_computes_right_is_taken() {
        let all = [
            tried(BASE, Ok((200.0, 50.0, -3.0))),
            tried("wide", Ok((300.0, 60.0, -3.01))),
            tried("lying", Err("it was killed by signal 4")),
            tried("wrong", Ok((900.0, 90.0, -9.0))),
        ];
        let best = judge(&all).expect("one works");
        assert_eq!(best.program, Path::new("wide"));
        for part in
            ["wide kernels", "not lying: it was killed by signal 4", "not wrong: it computes something else"]
        {
            assert!(best.found.contains(part), "{}", best.found);
        }
        // Wider is not always faster.
        assert_eq!(
            judge(&[all[0].clone(), tried("wide", Ok((300.0, 20.0, -3.0)))]).expect("one").program,
            Path::new(BASE)
        );
        let damaged = Err("m.gguf: damaged");
        let both = [tried(BASE, damaged), tried("wide", damaged)];
        assert_eq!(judge(&both), Err("m.gguf: damaged".into()));
        let slow = [tried(BASE, Err(SLOW)), tried("wide", Err(SLOW))];
        assert_eq!(judge(&slow).expect("the least that there is").program, Path::new(BASE));
        assert!(judge(&all[2..3]).expect_err("none").contains("they need AVX2"));
    }

    #[test]
    fn programs_beside_it_are_found_by_their_names() {
        let folder = std::env::temp_dir().join(format!("aios-kernels-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, mode) in [
            ("llama", 0o755),
            ("llama-b", 0o755),
            ("llama-a", 0o755),
            ("llama-a.d", 0o644),
            ("other-c", 0o755),
        ] {
            std::fs::write(folder.join(name), "").expect("writes");
            std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(mode)).expect("sets");
        }
        let found: Vec<String> = candidates(&folder.join("llama")).into_iter().map(|c| c.kernels).collect();
        std::fs::remove_dir_all(&folder).expect("removes");
        assert_eq!(found, [BASE, "a", "b"]);
    }

    #[test]
    fn what_is_remembered_counts_while_nothing_changed() {
        let path = std::env::temp_dir().join(format!("aios-kernels-{}.json", std::process::id()));
        let best = Best { program: "/x".into(), found: "fast".into() };
        remember(&path, &Remembered { with: "this".into(), best: best.clone() });
        assert_eq!(remembered(&path, "this"), Some(best));
        assert_eq!(remembered(&path, "that"), None);
        std::fs::write(&path, "{").expect("writes");
        assert_eq!(remembered(&path, "this"), None);
        std::fs::remove_file(&path).expect("removes");
    }
}
