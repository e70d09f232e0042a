//! DPDK's ACL library, loaded at run time through its shim, so that nothing here needs DPDK to build.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::net::IpAddr;

use septum_classifier::filter::{Filter, FiveTuple};

/// As the shim has it.
#[repr(C)]
struct AclFilter {
    source: u32,
    destination: u32,
    source_ports: [u16; 2],
    destination_ports: [u16; 2],
    protocol: u8,
    protocol_mask: u8,
    source_length: u8,
    destination_length: u8,
}

/// As the shim has it: 16 bytes, network order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct AclPacket {
    protocol: u8,
    padding: [u8; 3],
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

impl From<&FiveTuple<u32>> for AclPacket {
    fn from(tuple: &FiveTuple<u32>) -> Self {
        Self {
            protocol: tuple.protocol,
            padding: [0; 3],
            source: tuple.source.to_be(),
            destination: tuple.destination.to_be(),
            source_port: tuple.source_port.to_be(),
            destination_port: tuple.destination_port.to_be(),
        }
    }
}

type Init = unsafe extern "C" fn(c_uint) -> c_int;
type Build = unsafe extern "C" fn(*const AclFilter, u32, *mut usize) -> *mut c_void;
type Vectors = unsafe extern "C" fn(*mut c_void, c_uint) -> c_int;
type Classify = unsafe extern "C" fn(*mut c_void, *const *const AclPacket, *mut u32, u32) -> c_int;
type Free = unsafe extern "C" fn(*mut c_void);

/// The loaded library.
pub struct Peer {
    build: Build,
    vectors: Vectors,
    classify: Classify,
    free: Free,
}

/// A compiled set.
pub struct Acl<'a> {
    peer: &'a Peer,
    handle: *mut c_void,
    pub memory: usize,
}

impl Peer {
    /// Loads the shim and starts DPDK.
    pub fn load(path: &str) -> Result<Self, String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        // SAFETY: the path is a C string; the shim's constructors are DPDK's, which expect to be loaded so.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if library.is_null() {
            // SAFETY: behind a failed dlopen, dlerror gives a C string that lives until the next call.
            let reason = unsafe { std::ffi::CStr::from_ptr(libc::dlerror() as *const c_char) };
            return Err(reason.to_string_lossy().into_owned());
        }
        let symbol = |name: &str| {
            let name = CString::new(name).map_err(|error| error.to_string())?;
            // SAFETY: the library is open and stays so; the name is a C string.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            if symbol.is_null() { Err(format!("the shim has no {name:?}")) } else { Ok(symbol) }
        };
        // SAFETY: these are the shim's functions, declared in acl_shim.c with these types.
        let (init, peer) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Init>(symbol("acl_shim_init")?),
                Self {
                    build: std::mem::transmute::<*mut c_void, Build>(symbol("acl_shim_build")?),
                    vectors: std::mem::transmute::<*mut c_void, Vectors>(symbol("acl_shim_vectors")?),
                    classify: std::mem::transmute::<*mut c_void, Classify>(symbol("acl_shim_classify")?),
                    free: std::mem::transmute::<*mut c_void, Free>(symbol("acl_shim_free")?),
                },
            )
        };
        // SAFETY: called once, before all else.
        if unsafe { init(4096) } < 0 {
            return Err("DPDK's environment did not start (it wants 4 GiB of memory)".to_owned());
        }
        Ok(peer)
    }

    /// Compiles a set, to be classified with vectors of so many bits.
    pub fn build(&self, filters: &[Filter], bits: u32) -> Result<Acl<'_>, String> {
        let address = |address| match address {
            IpAddr::V4(address) => Ok(address.to_bits()),
            IpAddr::V6(_) => Err("DPDK's ACL is set up for IPv4 here".to_owned()),
        };
        let filters = filters
            .iter()
            .map(|filter| {
                Ok(AclFilter {
                    source: address(filter.source.network())?,
                    destination: address(filter.destination.network())?,
                    source_ports: [filter.source_ports.first(), filter.source_ports.last()],
                    destination_ports: [filter.destination_ports.first(), filter.destination_ports.last()],
                    protocol: filter.protocol.map_or(0, |protocol| protocol.0),
                    protocol_mask: filter.protocol.map_or(0, |_| u8::MAX),
                    source_length: filter.source.len(),
                    destination_length: filter.destination.len(),
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut memory = 0;
        // SAFETY: the filters live through the call, which copies them.
        let handle = unsafe { (self.build)(filters.as_ptr(), filters.len() as u32, &mut memory) };
        if handle.is_null() {
            return Err("DPDK's ACL could not compile the set".to_owned());
        }
        let acl = Acl { peer: self, handle, memory };
        // SAFETY: the handle is live.
        if unsafe { (self.vectors)(acl.handle, bits) } != 0 {
            return Err(format!("DPDK's ACL has no {bits}-bit vectors here"));
        }
        Ok(acl)
    }
}

impl Acl<'_> {
    /// For each packet one more than the index of its filter, or zero.
    pub fn classify(&self, packets: &[*const AclPacket], matches: &mut [u32]) {
        let count = packets.len().min(matches.len()) as u32;
        // SAFETY: the handle is live, the packets are, and there is room for as many matches.
        unsafe { (self.peer.classify)(self.handle, packets.as_ptr(), matches.as_mut_ptr(), count) };
    }
}

impl Drop for Acl<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is live and not used again.
        unsafe { (self.peer.free)(self.handle) }
    }
}
