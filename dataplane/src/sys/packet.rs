//! AF_PACKET sockets with virtio headers (packet(7), linux/if_packet.h).
//!
//! The kernel's `struct virtio_net_hdr` has ten bytes here, ours 24: the others are skipped by scattering and
//! gathering, so no byte is copied for them. A VLAN tag, which the kernel takes out of the frame,
//! is put back.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null_mut;

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::burst::ETHERNET;
use crate::wire::vnet_hdr::VnetHeader;

// The kernel's fields are in the machine's order, those of a burst are little-endian.
const _: () = assert!(cfg!(target_endian = "little"), "AF_PACKET ports need a little-endian machine");

/// Bytes of the kernel's header: ours up to `num_buffers`.
const HEADER: usize = 10;

/// Bytes of a VLAN tag (IEEE 802.1Q).
const TAG: usize = 4;

/// Where the tag stands: behind the two Ethernet addresses.
const TAG_AT: usize = ETHERNET + 12;

// linux/if_packet.h
const PACKET_FANOUT_EBPF: c_uint = 7;
const PACKET_FANOUT_DATA: c_int = 22;

/// Frames of one call at the most.
pub const BATCH: usize = 64;

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A frame of that many bytes, its virtio header included.
    Frame(usize),
    /// A frame that did not fit the slot; it is lost.
    TooLong,
}

/// Opens a socket that hears nothing yet and never blocks.
///
/// # Errors
/// `EPERM` without `CAP_NET_RAW` in the network namespace.
pub fn open() -> io::Result<OwnedFd> {
    // Protocol 0: frames come only after `bind`, so none of another device is ever heard.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None::<Protocol>)?)
}

/// Sets the socket up, before [`bind`]: virtio headers, no frames of this host's own sending, VLAN tags told.
///
/// # Errors
/// What the kernel says; `ENOPROTOOPT` when it lacks `PACKET_IGNORE_OUTGOING` (Linux 4.20).
pub fn configure(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::PACKET_VNET_HDR, &1)?;
    set(socket, libc::PACKET_IGNORE_OUTGOING, &1)?;
    set(socket, libc::PACKET_AUXDATA, &1)?;
    // Straight to the device: queueing disciplines are for hosts, and a full device is to be seen at once.
    set(socket, libc::PACKET_QDISC_BYPASS, &1)
}

/// Hears and sends on the device, all protocols.
///
/// # Errors
/// `ENODEV` when there is no such device; `ENETDOWN` when it is down.
pub fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    bind_protocol(socket, index, libc::ETH_P_ALL as u16)
}

/// Sends on the device, hears nothing, and passes the queueing discipline by: for who sends frames as they are, without virtio
/// headers.
///
/// # Errors
/// As [`bind`].
pub fn bind_to_send(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(socket, libc::PACKET_QDISC_BYPASS, &1)?;
    bind_protocol(socket, index, 0)
}

fn bind_protocol(socket: BorrowedFd<'_>, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let pointer = (&raw const address).cast();
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a `sockaddr_ll` of that length, alive during the call.
    check(unsafe { libc::bind(socket.as_raw_fd(), pointer, length) })?;
    Ok(())
}

/// Whether the device that the socket was bound to still exists.
///
/// # Errors
/// When the socket is none.
pub fn is_bound(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut address = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which the structure has.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), address.as_mut_ptr().cast(), &mut length) })?;
    // SAFETY: all bytes were zeroed, and any bytes are a `sockaddr_ll`.
    let address = unsafe { address.assume_init() };
    Ok(address.sll_ifindex > 0)
}

/// Hears frames for every destination while the socket is open.
///
/// # Errors
/// What the kernel says.
pub fn set_promiscuous(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: index as c_int,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(socket, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Shares the device's frames among sockets: as a program ([`super::steering`]) says, or else by the kernel's hash of the flow. `group`
/// is `None` for the first socket, which makes a group that nobody else has; gives the group.
///
/// # Errors
/// What the kernel says.
pub fn join_fanout(
    socket: BorrowedFd<'_>,
    group: Option<u16>,
    steering: Option<BorrowedFd<'_>>,
) -> io::Result<u16> {
    let unique = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let by = if steering.is_some() { PACKET_FANOUT_EBPF } else { libc::PACKET_FANOUT_HASH };
    let argument = u32::from(group.unwrap_or(0)) | (by | unique) << 16;
    set(socket, libc::PACKET_FANOUT, &argument)?;
    if let (Some(program), None) = (steering, group) {
        set(socket, PACKET_FANOUT_DATA, &program.as_raw_fd())?;
    }
    let mut joined = 0_u32;
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which the integer has.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_FANOUT,
            (&raw mut joined).cast::<c_void>(),
            &mut length,
        )
    })?;
    Ok(joined as u16)
}

/// Reads one frame into `slot`, virtio header first.
///
/// # Errors
/// As [`receive_batch`].
pub fn receive(socket: impl AsFd, slot: &mut [u8]) -> io::Result<Received> {
    let mut received = [Received::TooLong];
    receive_batch(socket, slot, slot.len(), &mut received)?;
    Ok(received[0])
}

/// Reads frames, virtio header first, into the slots of `memory`, each `slot` bytes long and one for each of `received`, in one
/// system call. Gives how many came: fewer than asked for when no more wait, or when the next one is an error.
///
/// # Errors
/// What recvmmsg(2) says where nothing came: `EAGAIN` when there is nothing, `ENETDOWN` once when the device went down, `EINVAL` when
/// the kernel cannot describe the frame in a virtio header; that frame is lost.
///
/// # Panics
/// When more than [`BATCH`] are asked for, or the slots are not there.
pub fn receive_batch(
    socket: impl AsFd,
    memory: &mut [u8],
    slot: usize,
    received: &mut [Received],
) -> io::Result<usize> {
    assert!(received.len() <= BATCH && received.len() * slot <= memory.len(), "slots that are not there");
    let mut parts = [const { MaybeUninit::uninit() }; BATCH];
    let mut controls = [const { MaybeUninit::uninit() }; BATCH];
    let mut messages = [const { MaybeUninit::uninit() }; BATCH];
    let slots = memory.chunks_exact_mut(slot).take(received.len());
    for (((buffer, parts), control), message) in slots.zip(&mut parts).zip(&mut controls).zip(&mut messages) {
        let (header, frame) = buffer[..slot - TAG].split_at_mut(ETHERNET);
        let parts = parts.write([
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER },
            libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() },
        ]);
        let control: &mut Control = control.write(Control([0; CONTROL]));
        let message = message.write(message_of(parts));
        message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        message.msg_hdr.msg_controllen = CONTROL as _;
    }
    let count = received.len() as c_uint;
    // SAFETY: as many messages are written as it is told, and all vectors and control buffers that they point to are valid for
    // writing at their lengths during the call.
    let came = check(unsafe {
        let first = messages.as_mut_ptr().cast();
        libc::recvmmsg(socket.as_fd().as_raw_fd(), first, count, 0, null_mut())
    })?;
    for ((message, slot), received) in
        messages.iter().zip(memory.chunks_exact_mut(slot)).zip(&mut *received).take(came)
    {
        // SAFETY: those that came are among those that were written above.
        let message = unsafe { message.assume_init_ref() };
        *received = described(message, slot);
    }
    Ok(came)
}

/// What a message that came says of the frame in its slot.
fn described(message: &libc::mmsghdr, slot: &mut [u8]) -> Received {
    let read = message.msg_len as usize;
    if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || read < HEADER {
        return Received::TooLong;
    }
    slot[HEADER..ETHERNET].fill(0);
    let length = read - HEADER + ETHERNET;
    Received::Frame(match tag_of(&message.msg_hdr) {
        Some(tag) if length >= TAG_AT => put_tag_back(slot, length, tag),
        _ => length,
    })
}

/// Writes one frame, virtio header first.
///
/// # Errors
/// As [`transmit_batch`].
///
/// # Panics
/// When `frame` is shorter than its virtio header.
pub fn transmit(socket: impl AsFd, frame: &[u8]) -> io::Result<()> {
    transmit_batch(socket, std::iter::once(frame)).map(drop)
}

/// Writes up to [`BATCH`] frames, virtio header first, in one system call, and gives how many were taken: at least one, of several
/// those before the first that is refused.
///
/// # Errors
/// What sendmmsg(2) says of the first: `ENETDOWN`, `ENXIO` when the device has disappeared, `EMSGSIZE` above its MTU,
/// `ENOBUFS` and `EAGAIN` when queues are full, `EINVAL` when the header contradicts the frame.
///
/// # Panics
/// When a frame is shorter than its virtio header.
pub fn transmit_batch<'a>(socket: impl AsFd, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
    let mut parts = [const { MaybeUninit::uninit() }; BATCH];
    let mut messages = [const { MaybeUninit::uninit() }; BATCH];
    let mut count = 0;
    for ((frame, parts), message) in frames.zip(&mut parts).zip(&mut messages) {
        let (header, ethernet) = frame.split_at(ETHERNET);
        let parts = parts.write([
            libc::iovec { iov_base: header.as_ptr().cast_mut().cast(), iov_len: HEADER },
            libc::iovec { iov_base: ethernet.as_ptr().cast_mut().cast(), iov_len: ethernet.len() },
        ]);
        message.write(message_of(parts));
        count += 1;
    }
    // SAFETY: as many messages are written as it is told; the kernel only reads from the vectors that they point to, which are valid
    // at their lengths during the call.
    check(unsafe {
        let first = messages.as_mut_ptr().cast();
        libc::sendmmsg(socket.as_fd().as_raw_fd(), first, count, libc::MSG_NOSIGNAL)
    })
}

/// Room for one `tpacket_auxdata` (its control message takes 36 bytes on 64-bit machines), aligned as
/// `struct cmsghdr`.
const CONTROL: usize = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL]);

fn message_of(parts: &mut [libc::iovec; 2]) -> libc::mmsghdr {
    // SAFETY: null pointers, zero lengths and padding are a valid `mmsghdr`.
    let mut message = unsafe { MaybeUninit::<libc::mmsghdr>::zeroed().assume_init() };
    message.msg_hdr.msg_iov = parts.as_mut_ptr();
    message.msg_hdr.msg_iovlen = parts.len() as _;
    message
}

/// The tag that the kernel took out of the frame: protocol and control information, in the machine's order.
fn tag_of(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel set pointer and length of the control buffer, which is still alive in the caller.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so it points at a whole control header inside the buffer.
        let found = unsafe { header.read() };
        if (found.cmsg_level, found.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: the data of a header inside the buffer.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: for this type the kernel wrote a whole `tpacket_auxdata`; alignment is not assumed.
            let auxiliary = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
            let valid = auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            let told = auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let protocol = if told { auxiliary.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
            return valid.then_some((protocol, auxiliary.tp_vlan_tci));
        }
        // SAFETY: both point into the same live buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// Inserts the tag and moves the header's offsets; gives the new length. The slot has room for it.
fn put_tag_back(slot: &mut [u8], length: usize, (protocol, information): (u16, u16)) -> usize {
    slot.copy_within(TAG_AT..length, TAG_AT + TAG);
    slot[TAG_AT..TAG_AT + 2].copy_from_slice(&protocol.to_be_bytes());
    slot[TAG_AT + 2..TAG_AT + TAG].copy_from_slice(&information.to_be_bytes());
    if let Some(mut header) = VnetHeader::read(slot) {
        header.move_offsets(|offset| offset.saturating_add(TAG as u16));
        header.write(slot);
    }
    length + TAG
}

fn set<T>(socket: BorrowedFd<'_>, option: c_int, value: &T) -> io::Result<()> {
    let pointer = std::ptr::from_ref(value).cast::<c_void>();
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes, which the value has; every option here takes such a value.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, pointer, length) })?;
    Ok(())
}

fn check<T: TryInto<usize>>(result: T) -> io::Result<usize> {
    result.try_into().map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_back_where_it_was_and_the_offsets_follow() {
        let mut slot = [0; 80];
        VnetHeader {
            flags: VnetHeader::NEEDS_CHECKSUM,
            gso_type: 1,
            header_length: 54,
            gso_size: 8,
            checksum_start: 34,
            checksum_offset: 16,
            ..VnetHeader::default()
        }
        .write(&mut slot);
        slot[ETHERNET..ETHERNET + 12].fill(0xaa);
        slot[TAG_AT..TAG_AT + 4].copy_from_slice(&[0x08, 0x00, 0x45, 0x01]);
        let length = put_tag_back(&mut slot, TAG_AT + 4, (0x8100, 0x200a));
        assert_eq!(length, TAG_AT + 8);
        assert_eq!(slot[TAG_AT - 1..TAG_AT + 8], [0xaa, 0x81, 0x00, 0x20, 0x0a, 0x08, 0x00, 0x45, 0x01]);
        let header = VnetHeader::read(&slot).unwrap();
        assert_eq!((header.checksum_start, header.checksum_offset, header.header_length), (38, 16, 58));
    }
}
