//! What an engine did since inferd was started.

use aios_abi::engine::Cost;
use aios_abi::infer::Account;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Answers whose time is remembered.
const REMEMBERED: usize = 256;

/// Shared by all who ask the engine. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    account: Account,
    times: VecDeque<u32>,
}

impl Books {
    fn open(&self) -> MutexGuard<'_, Pages> {
        // Nothing in the critical sections can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer is complete.
    pub(crate) fn answered(&self, cost: &Cost, took: Duration) {
        let ms = crate::ask::milliseconds(took);
        let mut pages = self.open();
        let account = &mut pages.account;
        account.requests += 1;
        account.prompt_tokens += u64::from(cost.prompt);
        account.reused_tokens += u64::from(cost.reused);
        account.generated_tokens += u64::from(cost.generated);
        account.ms += u64::from(ms);
        account.price_micro = account.price_micro.saturating_add(cost.price_micro);
        if pages.times.len() == REMEMBERED {
            pages.times.pop_front();
        }
        pages.times.push_back(ms);
    }

    /// A request came to nothing.
    pub(crate) fn failed(&self) {
        self.open().account.failed += 1;
    }

    /// A choice or arguments stand as the engine gave them.
    pub(crate) fn decided(&self) {
        self.open().account.decided += 1;
    }

    /// A choice or arguments were handed on to the next tier.
    pub(crate) fn handed_on(&self) {
        self.open().account.handed_on += 1;
    }

    /// All of it.
    pub(crate) fn account(&self) -> Account {
        let pages = self.open();
        let mut times: Vec<u32> = pages.times.iter().copied().collect();
        times.sort_unstable();
        let p95_ms = times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
        Account { p95_ms, ..pages.account }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_added_up_and_the_slow_answers_show() {
        let books = Books::default();
        let cost = Cost { prompt: 10, reused: 4, generated: 2, price_micro: 5, ..Cost::default() };
        for ms in 1..=100 {
            books.answered(&cost, Duration::from_millis(ms));
        }
        books.failed();
        books.decided();
        books.handed_on();
        assert_eq!(
            books.account(),
            Account {
                requests: 100,
                failed: 1,
                decided: 1,
                handed_on: 1,
                prompt_tokens: 1000,
                reused_tokens: 400,
                generated_tokens: 200,
                ms: 5050,
                p95_ms: 95,
                price_micro: 500,
            }
        );
        assert_eq!(Books::default().account(), Account::default());
    }
}
