//! io_uring (io_uring(7)): many reads, or many writes, of one device in one system call.
//!
//! A ring belongs to one thread. Both calls wait until the kernel has done with every operation, so buffers are borrowed for
//! no longer than the call. No operation waits for its device (`RWF_NOWAIT`): a device that has no frame, or takes none, says so at
//! once, and no other is held up. Where memory is registered, the kernel need not look its pages up each time.
//!
//! Cost: one system call for up to [`Ring::MOST`] operations.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;

use super::pages::Pages;

/// What an operation gave: bytes, or an error.
#[derive(Clone, Copy, Debug)]
pub struct Done(i32);

impl Done {
    /// Bytes.
    ///
    /// # Errors
    /// What read(2) or write(2) would have said.
    pub fn result(self) -> Result<usize, Errno> {
        usize::try_from(self.0).map_err(|_| Errno::from_raw_os_error(-self.0))
    }
}

/// A submission queue, its completion queue, and the memory that is registered with them.
pub struct Ring {
    ring: IoUring,
    /// Where the registered memory is: address and bytes.
    registered: Option<Range<usize>>,
    results: [Done; Ring::MOST],
}

impl Ring {
    /// Operations of one call at the most.
    pub const MOST: usize = 64;

    /// A ring of the calling thread, which alone may use it.
    ///
    /// # Errors
    /// `ENOSYS` and `EPERM` where the kernel has none or keeps it from this process (`sysctl kernel.io_uring_disabled`, seccomp);
    /// `ENOMEM` where the limit of locked memory is reached.
    pub fn new() -> io::Result<Self> {
        let entries = Self::MOST as u32;
        let modern = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .dontfork()
            .build(entries);
        let ring = match modern {
            // Linux before 6.1 does not know these.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                IoUring::builder().dontfork().build(entries)
            }
            built => built,
        }?;
        Ok(Self { ring, registered: None, results: [Done(0); Self::MOST] })
    }

    /// Registers memory, which should live as long as the ring; a second call replaces the first.
    ///
    /// # Errors
    /// `ENOMEM` where the limit of locked memory (`ulimit -l`) is reached; the ring works without.
    pub fn register(&mut self, memory: &mut Pages<u8>) -> io::Result<()> {
        if self.registered.take().is_some() {
            self.ring.submitter().unregister_buffers()?;
        }
        let vector = libc::iovec { iov_base: memory.as_mut_ptr().cast(), iov_len: memory.len() };
        // SAFETY: the range is mapped now, and the kernel pins its pages. Nothing is read or written through the registration but by
        // the operations below, for which the very range is borrowed; memory that was unmapped in between is only no longer that.
        unsafe { self.ring.submitter().register_buffers(&[vector]) }?;
        let start = memory.as_ptr().addr();
        self.registered = Some(start..start + memory.len());
        Ok(())
    }

    /// Whether memory is registered.
    pub fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Reads once into each of the first `count` slots of `memory`, which are `slot` bytes long, and gives what each read gave, in
    /// order.
    ///
    /// # Panics
    /// When there are more than [`Ring::MOST`], or they are not there.
    pub fn read(
        &mut self,
        descriptor: BorrowedFd<'_>,
        memory: &mut [u8],
        slot: usize,
        count: usize,
    ) -> &[Done] {
        assert!(count <= Self::MOST && count * slot <= memory.len(), "slots that are not there");
        let fixed = self.is_within(memory);
        let file = types::Fd(descriptor.as_raw_fd());
        for (index, buffer) in memory.chunks_exact_mut(slot).take(count).enumerate() {
            let (start, length) = (buffer.as_mut_ptr(), slot as u32);
            let entry = match fixed {
                true => opcode::ReadFixed::new(file, start, length, 0).rw_flags(libc::RWF_NOWAIT).build(),
                false => opcode::Read::new(file, start, length).rw_flags(libc::RWF_NOWAIT as _).build(),
            };
            // SAFETY: the buffer is borrowed for writing, and `finish` does not return before the kernel is done with it.
            unsafe { self.push(entry, index) };
        }
        self.finish(count)
    }

    /// Writes each of these ranges of `memory`, and gives what each write gave, in order.
    ///
    /// # Panics
    /// When there are more than [`Ring::MOST`]. A range that is not there is an empty write.
    pub fn write(
        &mut self,
        descriptor: BorrowedFd<'_>,
        memory: &[u8],
        ranges: impl ExactSizeIterator<Item = Range<usize>>,
    ) -> &[Done] {
        assert!(ranges.len() <= Self::MOST, "more than one call takes");
        let fixed = self.is_within(memory);
        let file = types::Fd(descriptor.as_raw_fd());
        let mut count = 0;
        for range in ranges.take(Self::MOST) {
            // Not by panicking: what was taken down already must not stay behind.
            let frame = memory.get(range).unwrap_or_default();
            let (start, length) = (frame.as_ptr(), frame.len() as u32);
            let entry = match fixed {
                true => opcode::WriteFixed::new(file, start, length, 0).rw_flags(libc::RWF_NOWAIT).build(),
                false => opcode::Write::new(file, start, length).rw_flags(libc::RWF_NOWAIT as _).build(),
            };
            // SAFETY: the frame is borrowed, and `finish` does not return before the kernel is done with it.
            unsafe { self.push(entry, count) };
            count += 1;
        }
        self.finish(count)
    }

    fn is_within(&self, memory: &[u8]) -> bool {
        let Range { start, end } = memory.as_ptr_range();
        self.registered.as_ref().is_some_and(|known| known.start <= start.addr() && end.addr() <= known.end)
    }

    /// Takes an operation down.
    ///
    /// # Safety
    /// Its buffer must be valid until [`Ring::finish`] has returned.
    unsafe fn push(&mut self, entry: squeue::Entry, index: usize) {
        // SAFETY: the caller's promise.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(index as u64)) };
        pushed.expect("the queue has room for all operations of one call, and is empty before");
    }

    /// Has the kernel do all that was taken down, and waits for the last of it.
    fn finish(&mut self, count: usize) -> &[Done] {
        let mut done = 0;
        while done < count {
            // A call that was interrupted, or found no memory, is made again: as long as one operation is under way, its buffer is
            // the kernel's. Operations on devices that do not wait end in the very call that submits them.
            let _ = self.ring.submit_and_wait(count - done);
            for completion in self.ring.completion() {
                if let Some(result) = self.results.get_mut(completion.user_data() as usize) {
                    *result = Done(completion.result());
                }
                done += 1;
            }
        }
        &self.results[..count]
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("registered", &self.registered.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::os::fd::AsFd;

    #[test]
    fn what_is_written_is_read_in_order_and_an_empty_device_says_so() {
        let Ok(mut ring) = Ring::new() else {
            eprintln!("skipped: the kernel has no io_uring for this process");
            return;
        };
        for registered in [false, true] {
            // Packets: each write is one read.
            let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::DIRECT).expect("a pipe");
            let mut memory = Pages::<u8>::zeroed(4 * 4096);
            if registered && ring.register(&mut memory).is_err() {
                eprintln!("skipped: the limit of locked memory is too low");
                return;
            }
            memory[0] = 1;
            memory[4096..4098].copy_from_slice(&[2, 3]);
            let results = |done: &[Done]| done.iter().map(|done| done.result()).collect::<Vec<_>>();
            let written = results(ring.write(writer.as_fd(), &memory, [0..1, 4096..4098].into_iter()));
            assert_eq!(written, [Ok(1), Ok(2)]);
            memory.fill(0);
            let read = results(ring.read(reader.as_fd(), &mut memory, 4096, 3));
            assert_eq!(read, [Ok(1), Ok(2), Err(Errno::AGAIN)]);
            assert_eq!((memory[0], &memory[4096..4098]), (1, &[2, 3][..]));
        }
    }
}
