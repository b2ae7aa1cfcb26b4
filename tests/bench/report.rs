//! The table and its file: `target/bench/results.json`.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::Path;

/// Columns of the table: those of a small terminal.
const WIDTH: u16 = 80;

/// What a figure is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// The ratio to the peer is at most this.
    AtMost(f64),
    /// The ratio to the peer is at least this.
    AtLeast(f64),
    /// The figure itself is at most this, whatever the peer needs.
    Within(f64),
    /// Nothing was promised: the figure is reported.
    None,
}

/// One measured row; `ratio` is value / peer_value, and missing where the peer's figure is nothing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    id: &'static str,
    what: String,
    value: f64,
    unit: &'static str,
    peer: String,
    peer_value: f64,
    ratio: Option<f64>,
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
        ensure!(
            value.is_finite()
                && peer_value.is_finite()
                && (peer_value > 0.0 || peer_value == 0.0 && matches!(bar, Bar::Within(_))),
            "{id}: measured {value} against {peer_value}, which is no measurement"
        );
        let quotient = value / peer_value;
        let ratio = quotient.is_finite().then_some(quotient);
        let (bar, holds) = match bar {
            Bar::AtMost(limit) => (Some(format!("≤ {limit}×")), Some(quotient <= limit)),
            Bar::AtLeast(limit) => (Some(format!("≥ {limit}×")), Some(quotient >= limit)),
            Bar::Within(limit) => (Some(format!("≤ {limit} {unit}")), Some(value <= limit)),
            Bar::None => (None, None),
        };
        Ok(Self { id, what: what.into(), value, unit, peer: peer.into(), peer_value, ratio, bar, holds })
    }

    /// Its id, when it does not reach its bar.
    pub(crate) fn missed(&self) -> Option<&'static str> {
        (self.holds == Some(false)).then_some(self.id)
    }
}

/// The middle of some measurements.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        odd if odd.len() % 2 == 1 => odd[middle],
        even => f64::midpoint(even[middle - 1], even[middle]),
    }
}

/// Print the table and write the file.
pub(crate) fn publish(rows: &[Row], file: &Path) -> Result<()> {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_width(WIDTH);
    table.set_header(["", "aiOS", "peer", "ratio", "bar"]);
    for row in rows {
        let bar = row.bar.as_ref().zip(row.holds).map(|(bar, holds)| {
            let word = if holds { "holds" } else { "MISSED" };
            format!("{bar}\n{word}")
        });
        table.add_row([
            format!("{}\n{}", row.id, row.what),
            format!("{}\n{}", short(row.value), row.unit),
            format!("{}\n{}", short(row.peer_value), row.peer),
            row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            bar.unwrap_or_default(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    println!("{table}");
    let json = serde_json::to_string_pretty(rows)?;
    std::fs::write(file, json + "\n").with_context(|| format!("{} cannot be written", file.display()))
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, bar: Bar) -> Result<Row> {
        Row::new("a.row", "what", "ms", value, "peer", 100.0, bar)
    }

    #[test]
    fn a_bar_holds_or_is_missed_in_its_own_direction() {
        let table = [
            (50.0, Bar::AtMost(0.5), Some(true)),
            (51.0, Bar::AtMost(0.5), Some(false)),
            (97.0, Bar::AtLeast(0.97), Some(true)),
            (96.0, Bar::AtLeast(0.97), Some(false)),
            (64.0, Bar::Within(64.0), Some(true)),
            (65.0, Bar::Within(64.0), Some(false)),
            (1e9, Bar::None, None),
        ];
        for (value, bar, holds) in table {
            assert_eq!(row(value, bar).expect("a row").holds, holds, "{value} against {bar:?}");
        }
    }

    #[test]
    fn what_is_no_measurement_is_an_error_and_no_row() {
        assert!(row(median(Vec::new()), Bar::None).is_err());
        assert!(Row::new("a.row", "what", "ms", 1.0, "peer", 0.0, Bar::None).is_err());
        let nothing = Row::new("a.row", "what", "times", 0.0, "peer", 0.0, Bar::Within(0.0));
        assert_eq!(nothing.map(|row| (row.ratio, row.holds)).ok(), Some((None, Some(true))));
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        assert!((median(vec![9.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![9.0, 1.0, 2.0, 4.0]) - 3.0).abs() < f64::EPSILON);
    }
}
