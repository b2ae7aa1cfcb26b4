//! The supervisor beside s6, runit and systemd: each as PID 1 of namespaces of its own on this
//! machine, with the same service program, in turns.

mod figures;
mod probe;
mod reports;
mod stage;
mod supervisor;
mod world;

use crate::report::{Bar, Row, median};
use anyhow::{Context, Result, ensure};
use figures::{All, Figures, MANY, SOME};
use std::process::{Command, Stdio};
use supervisor::{ALL, Supervisor};

pub(crate) use stage::{become_pid1, enter};

/// What was measured, as rows and as a table of everybody.
pub(crate) struct Measured(All);

/// Namespaces need root, the rest of the measurements does not: a process of its own does this part.
pub(crate) fn measure() -> Result<Measured> {
    let own = std::env::current_exe()?;
    let mut command = match rustix::process::geteuid().is_root() {
        true => Command::new(own),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg(own);
            sudo
        }
    };
    let output = command.arg("supervisors").stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the supervisors could not be measured");
    Ok(Measured(serde_json::from_slice(&output.stdout).context("the measurements are not readable")?))
}

/// The process that [`measure`] starts.
pub(crate) fn supervisors() -> Result<()> {
    serde_json::to_writer(std::io::stdout(), &figures::measure()?)?;
    Ok(())
}

impl Measured {
    /// Rows with their bars.
    pub(crate) fn rows(&self) -> Result<Vec<Row>> {
        use Bar::{AtMost, Within};
        use Supervisor::{Aios, Privileged, Runit, S6, Standby, Systemd};
        let all = [Aios, S6, Runit, Systemd];
        let standby = [Standby, S6, Runit, Systemd];
        // systemd waits less (RestartSec=, a tenth of a second), but each time; those two a whole second.
        let waiting = [Aios, S6, Runit];
        let first = |f: &Figures| median(f.first.clone());
        let second = |f: &Figures| median(f.second.clone());
        let start = |f: &Figures| median(f.start.clone());
        let shutdown = |f: &Figures| median(f.shutdown.clone());
        let one = |f: &Figures| pss(f, 1);
        let each = |f: &Figures| (pss(f, MANY) - pss(f, 1)) / (MANY - 1) as f64;
        let again = "SIGKILL → main, at once again";
        let idle = "wake-ups in 60 s, 100 services";
        let (prepared, fresh) = ("SIGKILL → main, with a standby", "SIGKILL → main, without one");
        // No peer takes anything from a service: the bar is for equal work, what ours has on top has its own row.
        let (unconfined, sandboxed) =
            ("1000 services, unconfined as theirs", "1000 services, in their sandboxes");
        Ok(vec![
            self.row("init.restart_first", prepared, "µs", &standby, AtMost(0.7), first)?,
            self.row("init.restart_cold", fresh, "µs", &all, Bar::None, first)?,
            self.row("init.restart_second", again, "µs", &waiting, AtMost(0.05), second)?,
            self.row("init.pss_1", "with one service", "KiB", &all, Within(1024.0), one)?,
            self.row("init.pss_each", "each further service", "KiB", &all, Within(8.0), each)?,
            self.row("init.start_1000", unconfined, "µs", &[Privileged, S6], AtMost(0.5), start)?,
            self.row("init.start_1000_sandboxed", sandboxed, "µs", &[Aios, S6], Bar::None, start)?,
            self.row("init.wakeups", idle, "times", &all, Within(0.0), |f| f.wakeups)?,
            self.row("init.shutdown", "of 100 services", "µs", &all, Bar::None, shutdown)?,
        ])
    }

    /// The first of these, which is ours, beside the best of the others.
    fn row(
        &self,
        id: &'static str,
        what: &'static str,
        unit: &'static str,
        them: &[Supervisor],
        bar: Bar,
        pick: impl Fn(&Figures) -> f64,
    ) -> Result<Row> {
        let value = |supervisor: &Supervisor| self.0.get(supervisor).map_or(f64::NAN, &pick);
        let (ours, peers) = them.split_first().context("nobody")?;
        let best = peers.iter().min_by(|a, b| value(a).total_cmp(&value(b))).context("no peer")?;
        Row::new(id, what, unit, value(ours), best.title(), value(best), bar)
    }

    /// Everybody's figures.
    pub(crate) fn table(&self) -> String {
        type Pick = fn(&Figures) -> f64;
        let columns: [(&str, Pick); 8] = [
            ("first ms", |f| median(f.first.clone()) / 1e3),
            ("second ms", |f| median(f.second.clone()) / 1e3),
            ("1 KiB", |f| pss(f, 1)),
            ("100 KiB", |f| pss(f, SOME)),
            ("1000 KiB", |f| pss(f, MANY)),
            ("start ms", |f| median(f.start.clone()) / 1e3),
            ("wakeups", |f| f.wakeups),
            ("end ms", |f| median(f.shutdown.clone()) / 1e3),
        ];
        let head: String = columns.iter().map(|(title, _)| format!("{title:>10}")).collect();
        let lines = ALL.iter().filter_map(|supervisor| {
            let figures = self.0.get(supervisor)?;
            let cells: String = columns.iter().map(|(_, pick)| format!("{:>10.2}", pick(figures))).collect();
            Some(format!("{:<11}{cells}", supervisor.title()))
        });
        let lines: Vec<String> = lines.collect();
        format!("{:<11}{head}\n{}", "", lines.join("\n"))
    }
}

fn pss(figures: &Figures, services: usize) -> f64 {
    median(figures.pss.get(&services).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(scale: f64) -> Figures {
        Figures {
            first: vec![scale; 3],
            second: vec![10.0 * scale; 3],
            pss: [(1, vec![scale]), (SOME, vec![2.0 * scale]), (MANY, vec![1000.0 * scale])].into(),
            start: vec![5.0 * scale],
            wakeups: scale - 100.0,
            shutdown: vec![scale],
        }
    }

    #[test]
    fn rows_name_the_best_peer_and_the_table_has_everybody() {
        let all = [
            (Supervisor::Aios, 100.0),
            (Supervisor::Standby, 50.0),
            (Supervisor::Privileged, 40.0),
            (Supervisor::S6, 100.0),
            (Supervisor::Runit, 200.0),
        ];
        let measured = Measured(all.map(|(supervisor, scale)| (supervisor, figures(scale))).into());
        let json = serde_json::to_value(measured.rows().expect("rows")).expect("JSON");
        let row =
            |id: &str| json.as_array().and_then(|rows| rows.iter().find(|row| row["id"] == id)).cloned();
        let first = row("init.restart_first").expect("a row");
        assert_eq!((&first["peer"], &first["ratio"]), (&"s6".into(), &0.5.into()));
        let wakeups = row("init.wakeups").expect("a row");
        assert_eq!((&wakeups["ratio"], &wakeups["holds"]), (&serde_json::Value::Null, &true.into()));
        assert_eq!(measured.table().lines().count(), 6);
    }
}
