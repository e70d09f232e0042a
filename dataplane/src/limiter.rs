//! Rate limits of a workload: token buckets that all workers share, filled by the burst's time stamp.
//!
//! A bucket holds a quarter of a second's tokens, at least two, and starts full. What costs more than a whole bucket
//! (a super-frame, where few bytes are allowed) passes when the bucket is full and leaves a debt, so that the average
//! holds and nothing is refused for ever. Reads no clock, allocates and locks nothing; a workload without limits pays
//! nothing, one with limits a compare-and-swap a packet and limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use septum_rules::workload::Limits;

use crate::clock::Tick;
use crate::drop_reason::DropReason;
use crate::wire::IpPacket;
use crate::wire::tunnel::headers_end;
use crate::wire::vnet_hdr::{GsoType, VnetHeader};

/// The limits of one workload, and what it has used of them.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    packets: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    connections: Option<TokenBucket>,
}

impl Limiter {
    /// The limiter of these limits, unused so far; none where there are none.
    pub fn of(limits: Limits) -> Option<Arc<Self>> {
        let Limits { packets_per_s, bytes_per_s, new_connections_per_s } = limits;
        (limits != Limits::default()).then(|| {
            Arc::new(Self {
                limits,
                packets: packets_per_s.map(TokenBucket::new),
                bytes: bytes_per_s.map(TokenBucket::new),
                connections: new_connections_per_s.map(TokenBucket::new),
            })
        })
    }

    /// Whether the other has the same limits.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.limits == other.limits
    }

    /// Takes what `packet` of `frame` (virtio header first) costs; a super-frame costs what its segments do.
    ///
    /// # Errors
    /// [`DropReason::LimitPackets`], [`DropReason::LimitBytes`]
    pub fn packet(&self, frame: &[u8], packet: &IpPacket, now: Tick) -> Result<(), DropReason> {
        let (segments, bytes) = weight(frame, packet);
        if self.packets.as_ref().is_some_and(|bucket| !bucket.take(segments, now)) {
            return Err(DropReason::LimitPackets);
        }
        if self.bytes.as_ref().is_some_and(|bucket| !bucket.take(bytes, now)) {
            return Err(DropReason::LimitBytes);
        }
        Ok(())
    }

    /// Takes one connection.
    ///
    /// # Errors
    /// [`DropReason::LimitConnections`]
    pub fn connection(&self, now: Tick) -> Result<(), DropReason> {
        match &self.connections {
            Some(bucket) if !bucket.take(1, now) => Err(DropReason::LimitConnections),
            _ => Ok(()),
        }
    }
}

/// Packets and bytes (Ethernet headers included) that a frame puts on the wire.
fn weight(frame: &[u8], packet: &IpPacket) -> (u64, u64) {
    let end = u64::from(packet.end);
    let super_frame =
        VnetHeader::read(frame).filter(|vnet| !matches!(vnet.gso(), Some(GsoType::None) | None));
    let segment_size = super_frame.map_or(0, |vnet| u64::from(vnet.gso_size));
    let headers =
        super_frame.map_or(packet.payload.into(), |vnet| headers_end(&vnet, frame, packet.payload)) as u64;
    let payload = end.saturating_sub(headers);
    let segments = if segment_size == 0 { 1 } else { payload.div_ceil(segment_size).max(1) };
    (segments, end + (segments - 1) * headers)
}

/// One bucket.
///
/// Counted in eighths of a token, so that every tick of an eighth of a second fills in as many as tokens are
/// allowed in a second. What was spent and when are one word: the tick's lower 24 bits over 40 bits of spending. The
/// ticks wrap after 24 days, which a bucket that idles so long outlives: it is full anyway, unless it meets the
/// very eight seconds in which its last use seems to lie ahead.
#[derive(Debug)]
struct TokenBucket {
    /// Eighths of a token a tick.
    rate: u64,
    /// Eighths of a token that fit.
    depth: u64,
    state: AtomicU64,
}

const SPENT_BITS: u32 = 40;
const SPENT: u64 = (1 << SPENT_BITS) - 1;
const TICKS: u32 = (1 << (u64::BITS - SPENT_BITS)) - 1;

/// No device carries more than this many bytes a second, and spending stays within its bits.
const GREATEST_RATE: u64 = 1 << 36;

/// Another worker's burst may be some ticks ahead of this one.
const AHEAD: u32 = 64;

impl TokenBucket {
    fn new(rate: u64) -> Self {
        let rate = rate.min(GREATEST_RATE);
        // Two tokens at least: with one, what a tick fills in beyond it would be lost.
        let depth = (rate * 2).max(2 * u64::from(Tick::PER_SECOND));
        Self { rate, depth, state: AtomicU64::new(0) }
    }

    /// Takes so many tokens, or none when there are too few.
    fn take(&self, tokens: u64, now: Tick) -> bool {
        let cost = tokens * u64::from(Tick::PER_SECOND);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let then = (state >> SPENT_BITS) as u32;
            let elapsed = now.0.wrapping_sub(then) & TICKS;
            let (stamp, elapsed) = if elapsed > TICKS - AHEAD { (then, 0) } else { (now.0 & TICKS, elapsed) };
            let spent = (state & SPENT).saturating_sub(u64::from(elapsed) * self.rate);
            if spent != 0 && spent + cost > self.depth {
                return false;
            }
            let next = u64::from(stamp) << SPENT_BITS | (spent + cost).min(SPENT);
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now_there) => state = now_there,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tokens, of one each, that a greedy taker gets in each tick.
    fn taken(bucket: &TokenBucket, ticks: std::ops::Range<u32>, tokens: u64) -> u64 {
        ticks.map(|tick| (0..10_000).take_while(|_| bucket.take(tokens, Tick(tick))).count() as u64).sum()
    }

    #[test]
    fn a_greedy_taker_gets_the_rate_and_one_bucket_more() {
        for rate in [1, 3, 8, 100, 2000] {
            let bucket = TokenBucket::new(rate);
            let got = taken(&bucket, 100..100 + 8 * 60, 1);
            let extra = got - rate * 60;
            assert!(extra <= rate / 4 + 2, "{rate}: {extra} too many");
        }
    }

    #[test]
    fn what_exceeds_a_bucket_passes_and_is_paid_for() {
        let bucket = TokenBucket::new(1000);
        let frames = taken(&bucket, 0..8 * 640, 64_000);
        assert!((10..=11).contains(&frames), "{frames}");
    }

    #[test]
    fn rest_fills_a_bucket_once_and_a_worker_that_lags_fills_nothing() {
        let bucket = TokenBucket::new(80);
        assert_eq!(taken(&bucket, 10..11, 1), 20);
        assert_eq!(taken(&bucket, 9..10, 1), 0);
        assert_eq!(taken(&bucket, 11..12, 1), 10);
        assert_eq!(taken(&bucket, 5000..5001, 1), 20);
        // Over the wrap of the clock.
        assert_eq!(taken(&bucket, u32::MAX - 1..u32::MAX, 1), 20);
        assert!((0..10).all(|_| bucket.take(1, Tick(u32::MAX))));
        assert!((0..10).all(|_| bucket.take(1, Tick(0))) && !bucket.take(1, Tick(0)));
    }

    #[test]
    fn the_greatest_rate_neither_overflows_nor_refuses() {
        let bucket = TokenBucket::new(u64::MAX);
        assert!((0..100_000).all(|at| bucket.take(65_535 * 64, Tick(at))));
    }
}
