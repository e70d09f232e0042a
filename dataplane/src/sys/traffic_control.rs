//! Traffic control of a device (tc(8)): no queueing before it, and nothing for the stack on this side behind it.
//!
//! To keep the stack from what comes in, a `clsact` queueing discipline with one ingress filter that discards every frame. The kernel runs it after the
//! packet taps, so AF_PACKET sockets hear everything, and before bridges, VLANs and the protocols. The filter is a
//! classic BPF program of one instruction whose value is the verdict (linux/pkt_cls.h `TC_ACT_SHOT`): it needs
//! `CONFIG_NET_SCH_INGRESS` and `CONFIG_NET_CLS_BPF`, and no other action. Programs that others attach by tcx
//! (Linux 6.6) run earlier and are not seen here.

use std::io;

use netlink_packet_core::{DefaultNla, NLM_F_DUMP, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpf, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};

use super::netlink::Netlink;

// linux/pkt_cls.h
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TC_ACT_SHOT: u32 = 2;
/// `BPF_RET | BPF_K` of linux/filter.h.
const RETURN: u16 = 6;
/// Tells our filter from another's, also after a crash.
const HANDLE: u32 = 0x5e97;
const CLSACT: &str = "clsact";

impl Netlink {
    /// Takes the device without a queueing discipline: what is sent goes to the driver at once. To be called before it is first raised:
    /// then the kernel would give each of its transmit queues one (256 of a TAP with several queues: milliseconds, and their
    /// memory), in front of a driver that never asks to wait.
    ///
    /// # Errors
    /// `EEXIST` when it has a discipline; what else the kernel says.
    pub fn set_no_queueing(&mut self, index: u32) -> io::Result<()> {
        let mut message = message(index);
        message.header.parent = TcHandle::ROOT;
        message.attributes.push(TcAttribute::Kind("noqueue".to_owned()));
        self.create(RouteNetlinkMessage::NewQueueDiscipline(message))
    }

    /// Discards what comes in through the device, for everybody but packet sockets. A discard that a process left
    /// behind when it was killed is taken over.
    ///
    /// # Errors
    /// `EEXIST` when the device has an ingress or clsact discipline of somebody else; `ENOENT` or `EOPNOTSUPP`
    /// when the kernel lacks it; what else it says. Then the device is as before.
    pub fn add_ingress_discard(&mut self, index: u32) -> io::Result<()> {
        match self.create(RouteNetlinkMessage::NewQueueDiscipline(discipline(index))) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                return if self.has_only_our_discard(index)? { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        }
        self.create(RouteNetlinkMessage::NewTrafficFilter(filter(index))).inspect_err(|_| {
            // It was made just now, and the first error says more.
            let _ = self.delete_ingress_discard(index);
        })
    }

    /// Undoes [`Netlink::add_ingress_discard`].
    ///
    /// # Errors
    /// `ENODEV` when the device has gone; what else the kernel says.
    pub fn delete_ingress_discard(&mut self, index: u32) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelQueueDiscipline(discipline(index)))
    }

    fn has_only_our_discard(&mut self, index: u32) -> io::Result<bool> {
        let mut request = message(index);
        request.header.parent = ingress();
        let (mut ours, mut others) = (false, false);
        self.exchange(RouteNetlinkMessage::GetTrafficFilter(request), NLM_F_DUMP, |answer| {
            // Handle 0 is a classifier, told before its filters.
            if let RouteNetlinkMessage::NewTrafficFilter(found) = answer
                && found.header.handle != TcHandle::UNSPEC
            {
                let discards = u32::from(found.header.handle) == HANDLE && is_discard(&found);
                ours |= discards;
                others |= !discards;
            }
        })?;
        Ok(ours && !others)
    }
}

fn message(index: u32) -> TcMessage {
    TcMessage::with_index(index.cast_signed())
}

fn ingress() -> TcHandle {
    TcHandle { minor: TcHandle::MIN_INGRESS, ..TcHandle::CLSACT }
}

fn discipline(index: u32) -> TcMessage {
    let mut message = message(index);
    message.header.handle = TcHandle { minor: 0, ..TcHandle::CLSACT };
    message.header.parent = TcHandle::CLSACT;
    message.attributes.push(TcAttribute::Kind(CLSACT.to_owned()));
    message
}

fn filter(index: u32) -> TcMessage {
    const ETH_P_ALL: u16 = 0x0003;
    let mut message = message(index);
    message.header.handle = HANDLE.into();
    message.header.parent = ingress();
    // The priority in the upper half, first of all; the EtherType in network order in the lower.
    message.header.info = 1 << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind(TcFilterBpf::KIND.to_owned()));
    message.attributes.push(TcAttribute::Options(vec![
        other(TCA_BPF_OPS_LEN, 1_u16.to_ne_bytes().to_vec()),
        other(TCA_BPF_OPS, program()),
        TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
    ]));
    message
}

fn other(kind: u16, value: Vec<u8>) -> TcOption {
    TcOption::Bpf(TcFilterBpfOption::Other(DefaultNla::new(kind, value)))
}

/// One `struct sock_filter`: the code, no jumps, the value.
fn program() -> Vec<u8> {
    [&RETURN.to_ne_bytes()[..], &[0, 0], &TC_ACT_SHOT.to_ne_bytes()].concat()
}

fn is_discard(found: &TcMessage) -> bool {
    let is_program = |option: &TcOption| {
        let mut value = vec![0; option.value_len()];
        option.emit_value(&mut value);
        option.kind() == TCA_BPF_OPS && value == program()
    };
    found.attributes.iter().any(|attribute| match attribute {
        TcAttribute::Options(options) => options.iter().any(is_program),
        _ => false,
    })
}
