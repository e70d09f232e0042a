//! Steering: both directions of a connection come to the same worker, whatever kinds of port they come in by.
//!
//! A program for the kernel (bpf(2), linux/bpf.h) gives each frame a number, and its device the remainder by its queues. The
//! number is a sum of what the two directions share: both addresses, and both ports where TCP, UDP or SCTP have them in the first
//! place behind the IP header. A fragment has no ports, so none of its packet's are looked at. What is no IP goes to
//! the first queue. It only makes things faster (one worker's caches, no word that two change): nothing depends on it.
//!
//! The kernel refuses such programs to users without privileges (`kernel.unprivileged_bpf_disabled`). Then it hashes by itself, and a
//! TAP learns a flow's queue from what is written to it, which costs it a look into a table of flows each frame.
//!
//! Cost: some twenty instructions that the kernel compiles; one program a kind of device, however many use it.

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the kernel runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Where a TAP chooses the queue of a frame, Ethernet header first.
    Tap,
    /// Where packet sockets share frames, IP header first.
    Fanout,
}

/// The programs, where the kernel has taken them.
static PROGRAMS: [OnceLock<Option<OwnedFd>>; 2] = [const { OnceLock::new() }; 2];
/// Whether it has refused them since.
static GIVEN_UP: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// The program for a hook. `None` where the kernel refuses it, which is said once.
pub fn program(hook: Hook) -> Option<BorrowedFd<'static>> {
    if GIVEN_UP[hook as usize].load(Ordering::Relaxed) {
        return None;
    }
    let loaded = PROGRAMS[hook as usize].get_or_init(|| match load(hook) {
        Ok(program) => Some(program),
        Err(error) => {
            tell(&error);
            None
        }
    });
    loaded.as_ref().map(AsFd::as_fd)
}

/// Takes down that the kernel loads the program and does not run it at this hook (a TAP before Linux 4.16): from now on there is none.
pub fn give_up(hook: Hook, error: &io::Error) {
    if !GIVEN_UP[hook as usize].swap(true, Ordering::Relaxed) {
        tell(error);
    }
}

fn tell(error: &io::Error) {
    tracing::warn!(
        %error,
        "the kernel takes no steering program (it needs CAP_BPF and Linux 4.16): it spreads flows over workers by a hash of its own"
    );
}

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What the calls below read of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

const BPF_PROG_LOAD: c_int = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;

// Registers: the result, a scratch one, the frame (for the loads that name no register), the sum, the protocol, the IP header's bytes.
const R0: u8 = 0;
const R1: u8 = 1;
const FRAME: u8 = 6;
const SUM: u8 = 7;
const PROTOCOL: u8 = 8;
const HEADER: u8 = 9;

/// Bytes that a load takes.
#[derive(Clone, Copy)]
enum Size {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
}

// linux/bpf_common.h and linux/bpf.h: operation, class and source of an instruction, put together.
const LOAD_FROM_FRAME: u8 = 0x20;
const LOAD_FROM_FRAME_AT: u8 = 0x40;
const LOAD_FIELD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_CONSTANT: u8 = 0xb7;
const ADD: u8 = 0x0f;
const AND_CONSTANT: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const MULTIPLY_32: u8 = 0x24;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_NOT: u8 = 0x55;
const EXIT: u8 = 0x95;

/// Of `struct __sk_buff`: the EtherType, in network order.
const SKB_PROTOCOL: i16 = 16;

/// A place in a program that jumps name before it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    Ipv4,
    Ipv6,
    Ports,
    ReadPorts,
    End,
}

/// A program under construction. Jumps go forward only.
#[derive(Debug, Default)]
struct Assembler {
    instructions: Vec<Instruction>,
    /// Jumps whose labels are still to come.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn put(&mut self, code: u8, destination: u8, source: u8, immediate: i32) -> &mut Self {
        self.put_with_offset(code, destination, source, 0, immediate)
    }

    fn put_with_offset(
        &mut self,
        code: u8,
        destination: u8,
        source: u8,
        offset: i16,
        immediate: i32,
    ) -> &mut Self {
        let registers = source << 4 | destination;
        self.instructions.push(Instruction { code, registers, offset, immediate });
        self
    }

    /// Loads from the frame into the result, in the machine's order. A frame that ends before ends the program with 0.
    fn load(&mut self, size: Size, at: i32) -> &mut Self {
        self.put(LOAD_FROM_FRAME | size as u8, R0, 0, at)
    }

    fn jump(&mut self, code: u8, register: u8, immediate: i32, label: Label) -> &mut Self {
        self.jumps.push((self.instructions.len(), label));
        self.put(code, register, 0, immediate)
    }

    /// The jumps to `label` end here.
    fn label(&mut self, label: Label) -> &mut Self {
        let here = self.instructions.len();
        for (at, _) in self.jumps.extract_if(.., |(_, wanted)| *wanted == label) {
            self.instructions[at].offset = (here - at - 1) as i16;
        }
        self
    }
}

/// The program whose frames have their IP header at `network`.
fn assemble(network: i32) -> Vec<Instruction> {
    use Size::{Byte, Half, Word};
    let ethertype = |number: u16| i32::from(number.to_be());
    let mut program = Assembler::default();
    program.put(MOVE, FRAME, R1, 0).put(MOVE_CONSTANT, SUM, 0, 0).put(LOAD_FIELD, R0, FRAME, 0);
    if let Some(field) = program.instructions.last_mut() {
        field.offset = SKB_PROTOCOL;
    }
    program
        .jump(JUMP_IF_EQUAL, R0, ethertype(libc::ETH_P_IP as u16), Label::Ipv4)
        .jump(JUMP_IF_EQUAL, R0, ethertype(libc::ETH_P_IPV6 as u16), Label::Ipv6)
        .jump(JUMP, 0, 0, Label::End);

    program.label(Label::Ipv4);
    for address in [12, 16] {
        program.load(Word, network + address).put(ADD, SUM, R0, 0);
    }
    program
        .load(Byte, network + 9)
        .put(MOVE, PROTOCOL, R0, 0)
        .load(Half, network + 6)
        .put(AND_CONSTANT, R0, 0, 0x3fff)
        .jump(JUMP_IF_NOT, R0, 0, Label::End)
        .load(Byte, network)
        .put(AND_CONSTANT, R0, 0, 0xf)
        .put(SHIFT_LEFT, R0, 0, 2)
        .put(MOVE, HEADER, R0, 0)
        .jump(JUMP, 0, 0, Label::Ports);

    program.label(Label::Ipv6);
    for quarter in 0..8 {
        program.load(Word, network + 8 + 4 * quarter).put(ADD, SUM, R0, 0);
    }
    program.load(Byte, network + 6).put(MOVE, PROTOCOL, R0, 0).put(MOVE_CONSTANT, HEADER, 0, 40);

    program.label(Label::Ports);
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP] {
        program.jump(JUMP_IF_EQUAL, PROTOCOL, protocol, Label::ReadPorts);
    }
    program.jump(JUMP, 0, 0, Label::End);
    program
        .label(Label::ReadPorts)
        .put(LOAD_FROM_FRAME_AT | Word as u8, R0, HEADER, network)
        .put(MOVE, R1, R0, 0)
        .put(SHIFT_RIGHT, R1, 0, 16)
        .put(AND_CONSTANT, R0, 0, 0xffff)
        .put(ADD, SUM, R0, 0)
        .put(ADD, SUM, R1, 0);

    // Neighbouring ports and addresses are told apart by the upper bits of a product (Knuth, TAOCP 6.4).
    program
        .label(Label::End)
        .put(MOVE, R0, SUM, 0)
        .put(MULTIPLY_32, R0, 0, 0x9e37_79b1_u32 as i32)
        .put(SHIFT_RIGHT_32, R0, 0, 16)
        .put(EXIT, 0, 0, 0);
    program.instructions
}

fn load(hook: Hook) -> io::Result<OwnedFd> {
    let instructions = assemble(match hook {
        Hook::Tap => libc::ETH_HLEN,
        Hook::Fanout => 0,
    });
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: BPF_PROG_LOAD reads as many bytes of its attributes as it is told, the instructions and the license that they
    // point to, all of which live during the call; it writes nothing without a log.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<ProgramLoad>())
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor just now, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as c_int) })
}
