//! One set: both compiled, checked against linear search, and timed in turns.

use std::time::Instant;

use septum_classifier::filter::{Filter, FilterClassifier, FilterLimits, FilterMatch, FiveTuple};

use crate::Options;
use crate::linear::Linear;
use crate::peer::{Acl, AclPacket, Peer};
use crate::trace::{self, Random, Trace};

/// Packets that each classifier is given at once.
const BURST: usize = 256;

/// One set and trace, as measured.
pub struct Row {
    pub set: String,
    pub filters: usize,
    pub trace: &'static str,
    /// Medians, nanoseconds of this thread's processor time for a packet.
    pub septum_ns: f64,
    pub peer_ns: Option<f64>,
    /// Packets of which septum says something else than linear search does.
    pub mismatches: usize,
    pub memory: usize,
    pub peer_memory: Option<usize>,
    pub compile_s: f64,
    pub peer_compile_s: Option<f64>,
    /// Why there is no peer.
    pub note: Option<String>,
}

impl Row {
    pub fn ratio(&self) -> Option<f64> {
        self.peer_ns.map(|peer| self.septum_ns / peer)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        let number = |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.4}"));
        let printable = self.set.chars().map(|letter| if letter.is_control() { '?' } else { letter });
        let name = printable.collect::<String>().replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            "{{\"set\":\"{name}\",\"trace\":\"{}\",\"septum_ns\":{:.3},\"peer_ns\":{},\"ratio\":{},\
             \"mismatches\":{},\"memory\":{},\"compile_s\":{:.5}}}",
            self.trace,
            self.septum_ns,
            number(self.peer_ns),
            number(self.ratio()),
            self.mismatches,
            self.memory,
            self.compile_s,
        )
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let peer = match (self.peer_ns, self.ratio()) {
            (Some(peer), Some(ratio)) => format!("{peer:8.2} ns  ratio {ratio:.3}"),
            _ => format!("no peer{}", self.note.as_ref().map_or(String::new(), |note| format!(" ({note})"))),
        };
        format!(
            "{:<22} {:<8} septum {:7.2} ns  peer {peer}  {} mismatches",
            self.set, self.trace, self.septum_ns, self.mismatches
        )
    }
}

/// Keeps this thread on its core until it is dropped: the searches of other sets want all of them.
struct Pinned(libc::cpu_set_t);

impl Pinned {
    fn here() -> Self {
        // SAFETY: a set of zeros is an empty set of cores; the calls read and write sets of the size they are told.
        unsafe {
            let mut before: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&before), &mut before);
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(libc::sched_getcpu().max(0) as usize, &mut one);
            libc::sched_setaffinity(0, size_of_val(&one), &one);
            Self(before)
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: the set is the one that the kernel gave.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.0), &self.0) };
    }
}

/// This thread's processor time in seconds.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on Linux, and the time has room for it.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Compiles several times where that is quick; the median.
fn compile(filters: &[Filter]) -> Result<(FilterClassifier, f64), String> {
    let build = || {
        let start = Instant::now();
        let built = FilterClassifier::build(filters, &FilterLimits::default());
        (built, start.elapsed().as_secs_f64())
    };
    let (classifier, first) = build();
    let classifier = classifier.map_err(|error| error.to_string())?;
    let repeats = if first < 0.5 { 4 } else { 2 };
    let times = (0..repeats).map(|_| build().1).chain([first]).collect();
    Ok((classifier, median(times)))
}

struct Contestants<'a> {
    classifier: &'a FilterClassifier,
    acl: Option<&'a Acl<'a>>,
}

impl Contestants<'_> {
    fn septum(&self, packets: &[FiveTuple<u32>], matches: &mut [FilterMatch], options: &Options) {
        for (packets, matches) in packets.chunks(BURST).zip(matches.chunks_mut(BURST)) {
            self.classifier.classify_burst_with(options.path(), packets, matches);
        }
    }

    /// Both in turns over the whole trace. What septum found, and the medians.
    fn race(&self, trace: &Trace, options: &Options) -> (Vec<FilterMatch>, f64, Option<f64>) {
        let count = trace.packets.len();
        let mut matches = vec![FilterMatch::NONE; count];
        let mut peer_matches = vec![0_u32; count];
        let acl_packets: Vec<AclPacket> = trace.packets.iter().map(AclPacket::from).collect();
        let pointers: Vec<*const AclPacket> = acl_packets.iter().map(std::ptr::from_ref).collect();
        let (mut own, mut peers) = (Vec::new(), Vec::new());
        let warm = 4_096.min(count);
        let _pinned = Pinned::here();
        for _ in 0..options.rounds {
            self.septum(&trace.packets[..warm], &mut matches[..warm], options);
            let start = processor_time();
            self.septum(&trace.packets, &mut matches, options);
            own.push((processor_time() - start) * 1e9 / count as f64);
            if let Some(acl) = self.acl {
                acl.classify(&pointers[..warm], &mut peer_matches[..warm]);
                let start = processor_time();
                for (packets, matches) in pointers.chunks(BURST).zip(peer_matches.chunks_mut(BURST)) {
                    acl.classify(packets, matches);
                }
                peers.push((processor_time() - start) * 1e9 / count as f64);
            }
        }
        let wrong = trace.expected.iter().zip(&peer_matches);
        let wrong =
            wrong.filter(|(expected, found)| expected.map_or(0, |at| at as u32 + 1) != **found).count();
        if self.acl.is_some() && wrong > 0 {
            eprintln!("compare-classifiers: the peer differs from linear search on {wrong} packets");
        }
        (matches, median(own), self.acl.map(|_| median(peers)))
    }
}

/// Measures one set and hands over a row for each trace.
pub fn set(
    name: &str,
    filters: &[Filter],
    peer: Option<&Peer>,
    options: &Options,
    mut done: impl FnMut(Row),
) -> Result<(), String> {
    let (classifier, compile_s) = compile(filters).map_err(|error| format!("{name}: {error}"))?;
    if std::env::var_os("COMPARE_STATS").is_some() {
        eprintln!("{name}: {} {:?}", classifier.stats().0, classifier.memory_usage());
    }
    let bits = if options.path() == septum_classifier::SimdPath::Avx2 { 256 } else { 512 };
    let (acl, peer_compile_s, note) = match peer {
        None => (None, None, None),
        Some(peer) => {
            let start = Instant::now();
            match peer.build(filters, bits) {
                Ok(acl) => (Some(acl), Some(start.elapsed().as_secs_f64()), None),
                Err(reason) => (None, None, Some(reason)),
            }
        }
    };
    let linear = Linear::new(filters);
    let mut random = Random::new(options.seed);
    let uniform = trace::uniform(filters, &linear, &mut random, options.packets);
    let zipf = trace::zipf(&uniform, &mut random, options.packets);
    let miss = trace::miss(filters, &linear, &mut random, options.packets);
    let contestants = Contestants { classifier: &classifier, acl: acl.as_ref() };
    for trace in [Some(uniform), Some(zipf), miss].into_iter().flatten() {
        let (matches, septum_ns, peer_ns) = contestants.race(&trace, options);
        let differs = |(found, expected): &(&FilterMatch, &Option<usize>)| found.filter() != **expected;
        done(Row {
            set: name.to_owned(),
            filters: filters.len(),
            trace: trace.name,
            septum_ns,
            peer_ns,
            mismatches: matches.iter().zip(&trace.expected).filter(differs).count(),
            memory: classifier.memory_usage().total(),
            peer_memory: acl.as_ref().map(|acl| acl.memory),
            compile_s,
            peer_compile_s,
            note: note.clone(),
        });
    }
    Ok(())
}
