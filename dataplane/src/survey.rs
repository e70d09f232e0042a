//! The first look at a burst: what its frames are, whose, where they would go, and where their connections would stand.
//!
//! Pure: it reads the snapshot and the frames, and changes neither those nor any connection. What it finds of all frames is
//! kept, so that the second look ([`crate::pipeline`]) finds the connections' cache lines in the processor: each was asked for
//! when its frame was surveyed, and the frames behind that one took longer than memory does. With 100,000 connections in
//! rotation nearly every one of these reads would be a wait of its own otherwise.
//!
//! Cost: one burst of findings, allocated once; no allocation later.

use septum_rules::identity::IdentityId;

use crate::burst::{BURST, Burst, ETHERNET};
use crate::conntrack::{Connection, ConnectionTable};
use crate::directory::{Directory, Member};
use crate::drop_reason::DropReason;
use crate::forwarding::{self, Destination};
use crate::guard::{self, Source};
use crate::responder;
use crate::wire::parse::parse;
use crate::wire::vnet_hdr::VnetHeader;
use crate::wire::{Content, Headers, Parsed};

/// What was found of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// Its headers, or why it does not hold together.
    pub headers: Parsed,
    /// What it is to the switch; of no meaning where the headers are not.
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

/// The findings of one burst, in its order.
#[derive(Debug)]
pub struct Survey {
    findings: Box<[Finding; BURST]>,
}

impl Default for Survey {
    fn default() -> Self {
        let nothing =
            Finding { headers: Err(DropReason::FrameSize), course: Course::Refused(DropReason::FrameSize) };
        Self { findings: Box::new([nothing; BURST]) }
    }
}

impl Survey {
    /// Surveys all frames of a burst that came in at `member`'s port. Gives their bytes, without virtio headers.
    pub fn survey(
        &mut self,
        burst: &Burst,
        directory: &Directory,
        member: &Member,
        table: &ConnectionTable,
    ) -> u64 {
        let mut bytes = 0;
        for (index, finding) in self.findings.iter_mut().enumerate().take(burst.len()) {
            let frame = burst.frame(index);
            bytes += frame.len().saturating_sub(ETHERNET) as u64;
            finding.headers = match VnetHeader::read(frame) {
                Some(vnet) => parse(&frame[ETHERNET..], &vnet),
                None => Err(DropReason::FrameSize),
            };
            if let Ok(headers) = &finding.headers {
                finding.course = course(headers, directory, member, table);
            }
        }
        bytes
    }

    /// Takes down that no frame of a burst may be looked at. Gives their bytes, without virtio headers.
    pub fn refuse(&mut self, burst: &Burst, reason: DropReason) -> u64 {
        let mut bytes = 0;
        for (index, finding) in self.findings.iter_mut().enumerate().take(burst.len()) {
            bytes += burst.frame(index).len().saturating_sub(ETHERNET) as u64;
            finding.headers = Err(reason);
        }
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
            table.prefetch(connection.hash);
            let destination = forwarding::resolve(directory, member, headers, ip);
            Course::Packet { source, destination, connection }
        }
        (Ok(source), _) => Course::Control(source),
    }
}
