//! What the kernel under the tests can do.

/// Whether TAP devices carry super-frames inside UDP tunnels whole (Linux 6.17).
pub(crate) fn tells_of_tunnels() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 17)
}
