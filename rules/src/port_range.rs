//! Ranges of transport ports, both ends included.

use std::fmt;
use std::str::FromStr;

/// A non-empty range of 16-bit numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is no [`PortRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortRangeError {
    /// Not a decimal number from 0 to 65535, nor two of them joined by a hyphen.
    #[error("`{0}` is not a port (0 to 65535) or a range of ports (`8000-8080`)")]
    Number(String),
    /// The range ends before it begins.
    #[error("the range `{first}-{last}` ends before it begins")]
    Backwards {
        /// The number before the hyphen.
        first: u16,
        /// The number behind it.
        last: u16,
    },
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// The range of one port.
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`PortRangeError::Backwards`] when `last` is below `first`.
    pub const fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first > last { Err(PortRangeError::Backwards { first, last }) } else { Ok(Self { first, last }) }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether `port` lies in the range.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Where the stretches of ports begin that no range divides: in order, the first at zero.
pub fn edges(ranges: impl IntoIterator<Item = PortRange>) -> Vec<u16> {
    let mut firsts = Vec::new();
    edges_into(ranges, &mut firsts);
    firsts
}

/// [`edges`], into a buffer that is used again.
pub fn edges_into(ranges: impl IntoIterator<Item = PortRange>, firsts: &mut Vec<u16>) {
    firsts.clear();
    firsts.push(0);
    for range in ranges {
        firsts.push(range.first);
        firsts.extend(range.last.checked_add(1));
    }
    firsts.sort_unstable();
    firsts.dedup();
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| PortRangeError::Number(text.to_owned()))
        };
        match text.split_once('-') {
            Some((first, last)) => Self::new(number(first)?, number(last)?),
            None => number(text).map(Self::single),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        assert_eq!("443".parse(), Ok(PortRange::single(443)));
        assert_eq!("8000-8080".parse::<PortRange>().unwrap().to_string(), "8000-8080");
        assert!(matches!("8080-8000".parse::<PortRange>(), Err(PortRangeError::Backwards { .. })));
        for text in ["", "-", "65536", "+1", "1-", "-1", "1 - 2", "0x10"] {
            assert!(matches!(text.parse::<PortRange>(), Err(PortRangeError::Number(_))), "{text}");
        }
    }
}
