//! Numbers of packets: too large for 128 bits, exact nevertheless.

use std::fmt;
use std::ops::AddAssign;

/// A natural number below 2^320. Room enough: all packets are fewer than 2^300.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Lowest first.
    limbs: [u64; 5],
}

impl Count {
    /// None.
    pub const ZERO: Self = Self { limbs: [0; 5] };

    /// 2 to the power of `exponent` (below 320).
    pub(super) fn power_of_two(exponent: usize) -> Self {
        let mut limbs = [0; 5];
        limbs[exponent / 64] = 1 << (exponent % 64);
        Self { limbs }
    }

    /// The product, as far as it is below 2^320.
    pub(super) fn times(self, other: Self) -> Self {
        let mut limbs = [0_u64; 5];
        for (at, mine) in self.limbs.into_iter().enumerate() {
            let mut carry = 0_u128;
            for (limb, theirs) in limbs[at..].iter_mut().zip(other.limbs) {
                let sum = u128::from(*limb) + u128::from(mine) * u128::from(theirs) + carry;
                *limb = sum as u64;
                carry = sum >> 64;
            }
        }
        Self { limbs }
    }
}

impl From<u128> for Count {
    fn from(number: u128) -> Self {
        Self { limbs: [number as u64, (number >> 64) as u64, 0, 0, 0] }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        let mut carry = 0;
        for (limb, theirs) in self.limbs.iter_mut().zip(other.limbs) {
            let sum = u128::from(*limb) + u128::from(theirs) + carry;
            *limb = sum as u64;
            carry = sum >> 64;
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: usize = 19;
        let mut limbs = self.limbs;
        let mut groups = Vec::new();
        while limbs.iter().any(|limb| *limb != 0) {
            let mut rest = 0_u128;
            for limb in limbs.iter_mut().rev() {
                let part = rest << 64 | u128::from(*limb);
                *limb = (part / 10_u128.pow(DIGITS as u32)) as u64;
                rest = part % 10_u128.pow(DIGITS as u32);
            }
            groups.push(rest);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.into_iter().rev() {
            text.push_str(&format!("{group:0width$}", width = DIGITS));
        }
        f.pad_integral(true, "", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_exact() {
        assert_eq!(Count::ZERO.to_string(), "0");
        assert_eq!(Count::from(u128::MAX).to_string(), u128::MAX.to_string());
        let mut sum = Count::power_of_two(128);
        sum += Count::from(u128::MAX);
        assert_eq!(sum.to_string(), "680564733841876926926749214863536422911");
        let square = Count::from(u128::MAX).times(Count::from(u128::MAX));
        assert_eq!(
            square.to_string(),
            "115792089237316195423570985008687907852589419931798687112530834793049593217025"
        );
        assert_eq!(Count::power_of_two(64).times(Count::power_of_two(64)), Count::power_of_two(128));
        assert_eq!(format!("{:>4}", Count::from(7)), "   7");
    }
}
