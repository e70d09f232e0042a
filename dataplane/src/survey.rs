//! The first look at a burst: what its frames are, whose, where they would go, and where their connections would stand.
//!
//! Pure: it reads the snapshot and the frames, and changes neither those nor any connection. What it finds of all frames is
//! kept, so that the second look ([`crate::pipeline`]) finds the connections' cache lines in the processor: those of a few
//! frames are asked for together, and what is surveyed behind them takes longer than memory does. With 100,000 connections in
//! rotation nearly every one of these reads would be a wait of its own otherwise.
//!
//! Cost: one burst of findings, allocated once; no allocation later.

use septum_rules::identity::IdentityId;

use crate::burst::{BURST, Burst, ETHERNET};
use crate::conntrack::{Connection, ConnectionTable};
use crate::directory::{Directory, Member, UplinkEntry};
use crate::drop_reason::DropReason;
use crate::fast_path::{self, Glance, Layout, Way, Ways};
use crate::forwarding::{self, Destination};
use crate::guard::{self, Source};
use crate::responder::{self, Station};
use crate::snapshot::Snapshot;
use crate::uplink;
use crate::wire::ethernet::EtherType;
use crate::wire::parse::parse;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Content, Headers, Parsed};

/// What was found of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Its headers, or why it does not hold together.
    pub headers: Parsed,
    /// What it is to the switch.
    pub course: Course,
}

/// What a frame that holds together is to the switch.
#[derive(Clone, Copy, Debug)]
pub enum Course {
    /// The guard refuses it.
    Refused(DropReason),
    /// It asks the switch for something, or tells it.
    Control(Source),
    /// A packet between two ends.
    Packet {
        /// Who sent it.
        source: IdentityId,
        /// Where it would go.
        destination: Result<Destination, DropReason>,
        /// The connection that it would belong to.
        connection: Connection,
    },
}

/// A frame of the common kind whose way is known: what is left to ask are its connection and the gates.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Where it goes.
    pub way: Way,
    /// Where its parts lie.
    pub layout: Layout,
    /// The connection that it would belong to.
    pub connection: Connection,
}

/// The findings of one burst, in its order.
#[derive(Debug)]
pub struct Survey {
    /// One bit a frame that takes the fast path. Of the others there are findings.
    is_common: u64,
    /// Of frames that take the whole way, the connections alone.
    common: Box<[Common; BURST]>,
    findings: Box<[Finding; BURST]>,
    ways: Ways,
}

impl Default for Survey {
    fn default() -> Self {
        let nothing =
            Finding { headers: Err(DropReason::FrameSize), course: Course::Refused(DropReason::FrameSize) };
        let nobody =
            Common { way: Way::NOWHERE, layout: Layout::default(), connection: Connection::default() };
        let common = Box::new([nobody; BURST]);
        Self { is_common: 0, common, findings: Box::new([nothing; BURST]), ways: Ways::default() }
    }
}

impl Common {
    /// Fills this in for a frame that came in at the port slot `ingress`; `None` where it has to take the whole way.
    #[inline(always)]
    fn see(&mut self, frame: &[u8], ingress: u16, ways: &Ways, table: &ConnectionTable) -> Option<()> {
        match fast_path::ethertype(frame)? {
            EtherType::IPV4 => self.fill(&Glance::of_ipv4(frame, ingress)?, ways, table),
            EtherType::IPV6 => self.fill(&Glance::of_ipv6(frame, ingress)?, ways, table),
            _ => None,
        }
    }

    /// The same for one of which a glance was taken.
    #[inline(always)]
    fn fill(&mut self, glance: &Glance, ways: &Ways, table: &ConnectionTable) -> Option<()> {
        let way = ways.find(glance)?;
        if glance.length > usize::from(way.mtu) || (glance.ttl <= 1 && way.is_routed) {
            return None;
        }
        let (key, direction) = glance.connection();
        let hash = table.hash(&key);
        *self = Self { way: *way, layout: glance.layout, connection: Connection { key, hash, direction } };
        Some(())
    }
}

impl Survey {
    /// Surveys all frames of a burst that came from `from`. Gives their bytes, without virtio headers.
    pub fn survey(
        &mut self,
        burst: &Burst,
        snapshot: &Snapshot,
        from: Station<'_>,
        table: &ConnectionTable,
    ) -> u64 {
        const { assert!(BURST <= 64, "one bit a frame") };
        let mut bytes = 0;
        let ingress = from.port().slot;
        self.ways.begin(snapshot.generation);
        // Behind an uplink, pairs are whoever likes: they would crowd out those of the policy's authors.
        let is_known = matches!(from, Station::Member(member) if member.limiter.is_none());
        let mut is_common = 0;
        for (index, frame) in burst.iter().enumerate() {
            bytes += frame.len().saturating_sub(ETHERNET) as u64;
            let (common, ways) = (&mut self.common[index], &self.ways);
            if is_known && common.see(frame, ingress, ways, table).is_some() {
                is_common |= 1 << index;
            } else {
                self.survey_one(burst, index, snapshot, from, table);
                if is_known {
                    self.learn(frame, ingress, index, &snapshot.directory);
                }
                if let Course::Packet { connection, .. } = &self.findings[index].course {
                    self.common[index].connection = *connection;
                }
            }
            if index % ConnectionTable::REQUESTED == ConnectionTable::REQUESTED - 1 {
                self.request(index + 1, table);
            }
        }
        if !burst.len().is_multiple_of(ConnectionTable::REQUESTED) {
            self.request(burst.len(), table);
        }
        self.is_common = is_common;
        bytes
    }

    /// Asks for the lines of the connections of the last few frames before `end`. Where a frame has none, those of an older one are asked
    /// for: nobody minds.
    #[inline(never)]
    fn request(&self, end: usize, table: &ConnectionTable) {
        let start = (end - 1) / ConnectionTable::REQUESTED * ConnectionTable::REQUESTED;
        let before = start.saturating_sub(ConnectionTable::REQUESTED);
        let [before, last] = [before..start, start..end]
            .map(|frames| self.common[frames].iter().map(|common| &common.connection));
        table.request(last, before);
    }

    /// Remembers the way of a frame that has taken the whole look, where it is new and there is one.
    #[inline(never)]
    fn learn(&mut self, frame: &[u8], ingress: u16, index: usize, directory: &Directory) {
        if let Some(glance) = Glance::at(frame, ingress)
            && self.ways.find(&glance).is_none()
            && let Some(way) = way_of(&self.findings[index].course, directory)
        {
            self.ways.remember(glance.pair, way);
        }
    }

    /// Takes the whole look at one frame.
    #[inline(never)]
    pub fn survey_one(
        &mut self,
        burst: &Burst,
        index: usize,
        snapshot: &Snapshot,
        from: Station<'_>,
        table: &ConnectionTable,
    ) {
        let frame = burst.frame(index);
        let finding = &mut self.findings[index];
        finding.headers = match VnetHeader::read(frame) {
            Some(vnet) => parse(&frame[ETHERNET..], &vnet),
            None => Err(DropReason::FrameSize),
        };
        finding.course = match (&finding.headers, from) {
            // No other frame's course stays behind: a way would be remembered by it.
            (Err(reason), _) => Course::Refused(*reason),
            (Ok(headers), Station::Member(member)) => course(headers, &snapshot.directory, member, table),
            (Ok(headers), Station::Uplink(uplink)) => course_from(headers, snapshot, uplink, table),
        };
    }

    /// A frame of the burst that was surveyed last, if it takes the fast path.
    ///
    /// # Panics
    /// When `index` is beyond every burst.
    #[inline]
    pub fn common(&self, index: usize) -> Option<&Common> {
        (self.is_common >> index & 1 != 0).then(|| &self.common[index])
    }

    /// Takes down that no frame of a burst may be looked at. Gives their bytes, without virtio headers.
    pub fn refuse(&mut self, burst: &Burst, reason: DropReason) -> u64 {
        let mut bytes = 0;
        for (index, finding) in self.findings.iter_mut().enumerate().take(burst.len()) {
            bytes += burst.frame(index).len().saturating_sub(ETHERNET) as u64;
            finding.headers = Err(reason);
        }
        self.is_common = 0;
        bytes
    }

    /// What was found of a frame of the burst that was surveyed last.
    ///
    /// # Panics
    /// When `index` is beyond every burst.
    pub fn finding(&self, index: usize) -> &Finding {
        &self.findings[index]
    }
}

fn course(headers: &Headers, directory: &Directory, member: &Member, table: &ConnectionTable) -> Course {
    match (guard::admit(member, headers), &headers.content) {
        (Err(reason), _) => Course::Refused(reason),
        (Ok(Source::Identity(source)), Content::Ip(ip)) if !responder::is_for_switch(ip) => {
            let connection = Connection::of(ip, table);
            let destination = forwarding::resolve(directory, member, headers, ip);
            Course::Packet { source, destination, connection }
        }
        (Ok(source), _) => Course::Control(source),
    }
}

/// The same for what came in by an uplink.
fn course_from(
    headers: &Headers,
    snapshot: &Snapshot,
    uplink: &UplinkEntry,
    table: &ConnectionTable,
) -> Course {
    match (uplink::admit(&snapshot.directory, uplink, headers), &headers.content) {
        (Err(reason), _) => Course::Refused(reason),
        (Ok(()), Content::Ip(ip)) if ip.neighbour.is_none() => {
            let connection = Connection::of(ip, table);
            match uplink::resolve(snapshot, uplink, headers, ip) {
                Ok((source, destination)) => {
                    Course::Packet { source, destination: Ok(destination), connection }
                }
                Err(reason) => Course::Refused(reason),
            }
        }
        (Ok(()), _) => Course::Control(Source::Unaddressed),
    }
}

/// The way that a course shows to every packet of its pair, if there is one.
fn way_of(course: &Course, directory: &Directory) -> Option<Way> {
    let Course::Packet { source, destination: Ok(to), .. } = *course else { return None };
    let (egress, destination, is_routed) = match to {
        Destination::Bridged { port, identity } => (port, identity, false),
        Destination::Routed { port, identity, .. } => (port, identity, true),
        _ => return None,
    };
    Some(Way { egress, source, destination, mtu: directory.member(egress.slot)?.mtu, is_routed })
}
