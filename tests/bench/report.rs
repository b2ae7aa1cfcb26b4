//! The table and its file: `target/bench/results.json`.

use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// Which direction is better, and where the bar lies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// The ratio to the peer must be at most this.
    AtMost(f64),
    /// The ratio to the peer must be at least this.
    AtLeast(f64),
    /// No bar yet: the figure is reported.
    None,
}

/// One measured row; `ratio` is value / peer_value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    id: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    peer: String,
    peer_value: f64,
    ratio: f64,
    bar: Option<String>,
    holds: Option<bool>,
}

impl Row {
    /// A row from two medians that were measured interleaved in this run.
    pub(crate) fn new(
        id: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        value: f64,
        peer: impl Into<String>,
        peer_value: f64,
        bar: Bar,
    ) -> Result<Self> {
        anyhow::ensure!(
            value.is_finite() && peer_value.is_finite() && peer_value > 0.0,
            "{id}: measured {value} against {peer_value}, which is no measurement"
        );
        let ratio = value / peer_value;
        let (bar, holds) = match bar {
            Bar::AtMost(limit) => (Some(format!("≤ {limit}×")), Some(ratio <= limit)),
            Bar::AtLeast(limit) => (Some(format!("≥ {limit}×")), Some(ratio >= limit)),
            Bar::None => (None, None),
        };
        Ok(Self { id, what: what.into(), value, unit, peer: peer.into(), peer_value, ratio, bar, holds })
    }
}

/// The middle of some measurements.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => f64::NAN,
        _ if values.len() % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Print the table and write the file.
pub(crate) fn publish(rows: &[Row], file: &Path) -> Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["id", "what", "aiOS", "peer", "", "ratio", "bar", "holds"]);
    for row in rows {
        table.add_row([
            row.id.to_owned(),
            row.what.clone(),
            format!("{} {}", short(row.value), row.unit),
            row.peer.clone(),
            format!("{} {}", short(row.peer_value), row.unit),
            format!("{:.2}", row.ratio),
            row.bar.clone().unwrap_or_default(),
            row.holds.map_or("", |holds| if holds { "yes" } else { "NO" }).to_owned(),
        ]);
    }
    println!("{table}");
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let json = serde_json::to_string_pretty(rows)?;
    std::fs::write(file, json + "\n").with_context(|| format!("{} cannot be written", file.display()))
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
