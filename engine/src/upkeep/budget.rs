//! [`Budget`]: how much work may be done in which time.
//!
//! Work makes debt, of processor time and of bytes, and time pays it off at the rate that was allowed. Steps run while
//! neither debt is above its burst; once one is, they rest until both are paid. So in any stretch of time `t` the work
//! is at most `rate * t + burst + one step`, whatever the steps cost.

use std::time::Duration;

use super::config::Maintenance;

/// Processor time that may be taken at a stretch: short beside the time slice of a thread, so that a reader whose
/// processor it takes has it back soon, and long beside a wake-up, so that resting costs less than working.
const BURST_NANOS: u64 = 2_000_000;
/// Part of a second's bytes that may be taken at a stretch.
const BURST_BYTES_PART: u64 = 8;

/// What has been spent and not been paid off.
#[derive(Debug)]
pub(crate) struct Budget {
    cpu_percent: u64,
    bytes_per_second: u64,
    debt_nanos: u64,
    debt_bytes: u64,
    /// When the debts were looked at last.
    at: Duration,
    resting: bool,
}

impl Budget {
    pub(crate) fn new(config: &Maintenance, now: Duration) -> Self {
        Self {
            cpu_percent: u64::from(config.cpu_percent),
            bytes_per_second: config.bytes_per_second,
            debt_nanos: 0,
            debt_bytes: 0,
            at: now,
            resting: false,
        }
    }

    /// Notes what a step has cost.
    pub(crate) fn charge(&mut self, now: Duration, busy: Duration, bytes: u64) {
        self.pay(now);
        self.debt_nanos = self.debt_nanos.saturating_add(nanos(busy));
        self.debt_bytes = self.debt_bytes.saturating_add(bytes);
        self.resting |= self.debt_nanos > BURST_NANOS
            || self.debt_bytes > self.bytes_per_second / BURST_BYTES_PART;
    }

    /// How long to rest before the next step; zero if it may run.
    pub(crate) fn rest(&mut self, now: Duration) -> Duration {
        self.pay(now);
        if !self.resting {
            return Duration::ZERO;
        }
        let cpu = u128::from(self.debt_nanos) * 100 / u128::from(self.cpu_percent);
        let bytes = u128::from(self.debt_bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let rest = u64::try_from(cpu.max(bytes)).unwrap_or(u64::MAX);
        self.resting = rest > 0;
        Duration::from_nanos(rest)
    }

    fn pay(&mut self, now: Duration) {
        let passed = u128::from(nanos(now.saturating_sub(self.at)));
        self.at = self.at.max(now);
        let paid = |debt: u64, amount: u128| {
            debt.saturating_sub(u64::try_from(amount).unwrap_or(u64::MAX))
        };
        self.debt_nanos = paid(self.debt_nanos, passed * u128::from(self.cpu_percent) / 100);
        let bytes = passed * u128::from(self.bytes_per_second) / 1_000_000_000;
        self.debt_bytes = paid(self.debt_bytes, bytes);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
