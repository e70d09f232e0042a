//! io_uring (io_uring(7)): many reads, or many writes, of one device in one system call.
//!
//! A ring belongs to one thread. Both calls wait until the kernel has done with every operation, so buffers are borrowed for
//! no longer than the call. No operation waits for its device (`RWF_NOWAIT`): a device that has no frame, or takes none, says so at
//! once, and no other is held up. Where memory is registered, the kernel need not look its pages up each time; where a file is
//! ([`Place`]), not its descriptor.
//!
//! Cost: one system call for up to [`Ring::MOST`] operations. Writes of one burst and reads of the next in the same call were tried, and
//! gain nothing beside that (ARCHITECTURE.md).

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Where an open file is in the table of a ring. Kept by whoever owns the file, for that file alone: the ring holds it open, too, until
/// [`Ring::forget`] or its own end.
#[derive(Debug, Default)]
pub struct Place {
    /// The ring's number; of no ring, zero.
    ring: u64,
    /// `None` where the table has no room.
    index: Option<u32>,
}

/// A submission queue, its completion queue, and the memory and files that are registered with them.
pub struct Ring {
    ring: IoUring,
    /// Tells rings apart, so that no place is taken for one in another's table.
    number: u64,
    /// Free places of the table of files.
    free: Vec<u32>,
    /// Where the registered memory is: address and bytes.
    registered: Option<Range<usize>>,
    results: [Done; Ring::MOST],
}

impl Ring {
    /// Operations of one call at the most.
    pub const MOST: usize = 64;

    /// Files that are registered at the most; operations on others take a little longer.
    const FILES: u32 = 1024;

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
        // Linux before 5.19 has no empty table, and none is larger than the limit of open files.
        let has_table = ring.submitter().register_files_sparse(Self::FILES).is_ok();
        let free = if has_table { (0..Self::FILES).rev().collect() } else { Vec::new() };
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { ring, number, free, registered: None, results: [Done(0); Self::MOST] })
    }

    /// How an operation names a file: registers it unless that was done or tried.
    fn file(&mut self, descriptor: BorrowedFd<'_>, place: &mut Place) -> (types::Fd, squeue::Flags) {
        let raw = descriptor.as_raw_fd();
        if place.ring != self.number {
            *place = Place { ring: self.number, index: self.enter(raw) };
        }
        match place.index {
            Some(index) => (types::Fd(index as i32), squeue::Flags::FIXED_FILE),
            None => (types::Fd(raw), squeue::Flags::empty()),
        }
    }

    fn enter(&mut self, raw: i32) -> Option<u32> {
        let index = self.free.pop()?;
        let entered = self.ring.submitter().register_files_update(index, &[raw]);
        if entered.is_err() {
            self.free.push(index);
        }
        entered.ok().map(|_| index)
    }

    /// Lets go of a file, which else stays open as long as the ring.
    pub fn forget(&mut self, place: &mut Place) {
        let place = std::mem::take(place);
        if place.ring == self.number
            && let Some(index) = place.index
            && self.ring.submitter().register_files_update(index, &[-1]).is_ok()
        {
            self.free.push(index);
        }
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
        place: &mut Place,
        memory: &mut [u8],
        slot: usize,
        count: usize,
    ) -> &[Done] {
        assert!(count <= Self::MOST && count * slot <= memory.len(), "slots that are not there");
        let fixed = self.is_within(memory);
        let (file, flags) = self.file(descriptor, place);
        for (index, buffer) in memory.chunks_exact_mut(slot).take(count).enumerate() {
            let (start, length) = (buffer.as_mut_ptr(), slot as u32);
            let entry = match fixed {
                true => opcode::ReadFixed::new(file, start, length, 0).rw_flags(libc::RWF_NOWAIT).build(),
                false => opcode::Read::new(file, start, length).rw_flags(libc::RWF_NOWAIT as _).build(),
            };
            // SAFETY: the buffer is borrowed for writing, and `finish` does not return before the kernel is done with it.
            unsafe { self.push(entry.flags(flags), index) };
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
        place: &mut Place,
        memory: &[u8],
        ranges: impl ExactSizeIterator<Item = Range<usize>>,
    ) -> &[Done] {
        assert!(ranges.len() <= Self::MOST, "more than one call takes");
        let fixed = self.is_within(memory);
        let (file, flags) = self.file(descriptor, place);
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
            unsafe { self.push(entry.flags(flags), count) };
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

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel takes a ring apart in its own time; files that others wait for to close go now.
        let _ = self.ring.submitter().unregister_files();
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
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::os::fd::{AsFd, OwnedFd};

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
            let mut places = [Place::default(), Place::default()];
            let [reading, writing] = &mut places;
            let results = |done: &[Done]| done.iter().map(|done| done.result()).collect::<Vec<_>>();
            let written =
                results(ring.write(writer.as_fd(), writing, &memory, [0..1, 4096..4098].into_iter()));
            assert_eq!(written, [Ok(1), Ok(2)]);
            memory.fill(0);
            let read = results(ring.read(reader.as_fd(), reading, &mut memory, 4096, 3));
            assert_eq!(read, [Ok(1), Ok(2), Err(Errno::AGAIN)]);
            assert_eq!((memory[0], &memory[4096..4098]), (1, &[2, 3][..]));
        }
    }

    #[test]
    fn a_file_that_is_forgotten_is_closed_and_its_place_is_anothers() {
        let (Ok(mut ring), Ok(mut other)) = (Ring::new(), Ring::new()) else {
            eprintln!("skipped: the kernel has no io_uring for this process");
            return;
        };
        let memory = [1; 8];
        let write = |ring: &mut Ring, writer: &OwnedFd, place: &mut Place| {
            let done = ring.write(writer.as_fd(), place, &memory, std::iter::once(0..4))[0].result();
            assert_eq!(done, Ok(4));
        };
        // What a pipe says whose writers have all gone; older kernels let go of a file a little later.
        let is_ended = |reader: &OwnedFd| {
            let hung_up = PollFd::new(reader, PollFlags::empty());
            poll(&mut [hung_up], Some(&Timespec { tv_sec: 20, tv_nsec: 0 })) == Ok(1)
                && rustix::io::read(reader, &mut [0; 64]) == Ok(0)
        };
        let (first_reader, first) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        let (second_reader, second) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        let mut places = [Place::default(), Place::default()];
        let [of_first, of_second] = &mut places;
        write(&mut ring, &first, of_first);
        let index = of_first.index;
        // To another ring the place says nothing.
        write(&mut other, &second, of_second);
        write(&mut ring, &second, of_second);
        assert_eq!(rustix::io::read(&second_reader, &mut [0; 64]), Ok(8));
        ring.forget(of_first);
        drop(first);
        assert_eq!(rustix::io::read(&first_reader, &mut [0; 64]), Ok(4));
        assert!(is_ended(&first_reader));
        let (third_reader, third) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        write(&mut ring, &third, of_first);
        assert_eq!((of_first.index, rustix::io::read(&third_reader, &mut [0; 64])), (index, Ok(4)));
        // A ring's end forgets all.
        drop((ring, third));
        assert!(is_ended(&third_reader));
    }
}
