//! Failed attempts, counted by address and by the key they name.
//!
//! Beyond the limit a failure is answered 429 instead of 401, its body is not read, and the audit
//! counts it instead of writing it down. A *valid* signature is let in all the same, always: who
//! fails often must not be able to lock out others who use the same key, or who come from behind
//! the same proxy. That gives a guesser nothing, since a generated secret has 224 bits; the
//! configuration warns about short ones.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Counts failures.
pub(super) struct Failures {
    limiter: RateLimiter<Who, HashMapStateStore<Who>, MonotonicClock, Instants>,
    /// Pruning looks at every entry, so it has a limit, too.
    pruning: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, Instants>,
    clock: MonotonicClock,
}

type Instants = NoOpMiddleware<std::time::Instant>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    /// Only keys that exist, so that invented names take no memory.
    Key(String),
    /// All addresses that there is no room for.
    Others,
}

const WHO_MAX: usize = 10_000;
const PRUNING_PERIOD: Duration = Duration::from_secs(1);

// === impl Failures ===

impl Failures {
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        let once = Quota::with_period(PRUNING_PERIOD).expect("the period is not zero");
        Self {
            limiter: RateLimiter::hashmap_with_clock(Quota::per_minute(per_minute), MonotonicClock),
            pruning: RateLimiter::direct_with_clock(once, MonotonicClock),
            clock: MonotonicClock,
        }
    }

    /// Notes a failure; says how long to wait when there were too many.
    pub(super) fn note(
        &self,
        address: Option<IpAddr>,
        known_key: Option<&str>,
    ) -> Option<Duration> {
        let address = address.map(|it| self.bounded(Who::Address(network(it))));
        let key = known_key.map(|id| Who::Key(id.to_owned()));
        let now = self.clock.now();
        let waits = address.into_iter().chain(key).filter_map(|who| {
            let refused = self.limiter.check_key(&who).err()?;
            Some(refused.earliest_possible().duration_since(now))
        });
        waits.max()
    }

    fn bounded(&self, who: Who) -> Who {
        if self.limiter.len() < WHO_MAX {
            return who;
        }
        if self.pruning.check().is_ok() {
            self.limiter.retain_recent();
        }
        if self.limiter.len() < WHO_MAX { who } else { Who::Others }
    }
}

impl std::fmt::Debug for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Failures").field("known", &self.limiter.len()).finish_non_exhaustive()
    }
}

/// One IPv6 customer has at least a /64 to choose addresses from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures() -> Failures {
        Failures::new(NonZeroU32::new(3).unwrap())
    }

    fn v6(first: u16, last: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, first, 0, 0, 0, 0, last).into()
    }

    #[test]
    fn an_address_and_a_key_have_a_limit_each() {
        let failures = failures();
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        for _ in 0..3 {
            assert_eq!(failures.note(address(1), None), None);
        }
        let wait = failures.note(address(1), None).unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_mins(1), "{wait:?}");
        assert_eq!(failures.note(address(2), Some("k")), None);
        assert_eq!(failures.note(address(3), Some("k")), None);
        assert_eq!(failures.note(address(4), Some("k")), None);
        assert!(failures.note(address(5), Some("k")).is_some(), "from anywhere");
        assert_eq!(failures.note(address(6), Some("other")), None);
    }

    #[test]
    fn a_network_of_one_customer_is_one_address() {
        let failures = failures();
        for last in 0..3 {
            assert_eq!(failures.note(Some(v6(1, last)), None), None);
        }
        assert!(failures.note(Some(v6(1, 99)), None).is_some());
        assert_eq!(failures.note(Some(v6(2, 0)), None), None);
    }

    #[test]
    fn memory_is_bounded() {
        let failures = failures();
        for count in 0..u32::try_from(WHO_MAX).unwrap() + 100 {
            failures.note(Some(IpAddr::from(count.to_be_bytes())), None);
        }
        assert!(failures.limiter.len() <= WHO_MAX + 1);
    }
}
