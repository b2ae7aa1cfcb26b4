//! Who comes before whom.

use super::types::{Id, Spec};

/// The edges of all services, the other way round, and an order in which each comes after those that it
/// needs. The loader refuses circles; should there be one nevertheless, its members come last.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Those that a service comes after or requires stand before it.
    pub(super) order: Vec<usize>,
    /// Who requires this one.
    pub(super) dependents: Vec<Vec<Id>>,
    /// Who comes after this one.
    pub(super) followers: Vec<Vec<Id>>,
}

impl Graph {
    pub(super) fn new<'a>(specs: impl Iterator<Item = &'a Spec> + Clone) -> Self {
        let count = specs.clone().count();
        let mut graph = Self {
            order: Vec::with_capacity(count),
            dependents: vec![Vec::new(); count],
            followers: vec![Vec::new(); count],
        };
        let mut missing = vec![0usize; count];
        for (index, spec) in specs.enumerate() {
            for (list, edges) in
                [(&spec.requires, &mut graph.dependents), (&spec.after, &mut graph.followers)]
            {
                for needed in list {
                    if let Some(edges) = edges.get_mut(needed.0) {
                        edges.push(Id(index));
                        missing[index] += 1;
                    }
                }
            }
        }
        graph.order.extend((0..count).filter(|index| missing[*index] == 0));
        let mut next = 0;
        while let Some(index) = graph.order.get(next).copied() {
            next += 1;
            for later in graph.dependents[index].iter().chain(&graph.followers[index]) {
                missing[later.0] -= 1;
                if missing[later.0] == 0 {
                    graph.order.push(later.0);
                }
            }
        }
        graph.order.extend((0..count).filter(|index| missing[*index] > 0));
        graph
    }
}
