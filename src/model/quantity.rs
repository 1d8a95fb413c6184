//! Kubernetes quantities, read strictly: tenants write them, and the common parsers hang or wrap on hostile ones
//! (`2E6024865272343`, `1e9223372036854775807`, 32 digits).

use thiserror::Error;

/// An amount in thousandths, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    milli: u128,
}

/// Why a text is not a quantity that we take.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum QuantityError {
    /// Empty, or not of the grammar.
    #[error("not a quantity")]
    Malformed,
    /// Longer than [`Quantity::TEXT_LEN_MAX`], or an exponent beyond [`Quantity::EXPONENT_MAX`].
    #[error("too long or too large for a quantity")]
    TooLarge,
    /// Below zero.
    #[error("negative")]
    Negative,
}

impl Quantity {
    /// The longest text that is read.
    pub const TEXT_LEN_MAX: usize = 32;
    /// The largest decimal exponent that is read.
    pub const EXPONENT_MAX: u32 = 18;

    /// Reads `<digits>[.<digits>][suffix]`, suffixes as Kubernetes has them; rounds up to thousandths, as its defaulting does.
    ///
    /// # Errors
    /// Anything but a plain, small, non-negative quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.len() > Self::TEXT_LEN_MAX {
            return Err(QuantityError::TooLarge);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_len = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = unsigned.split_at(number_len);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(QuantityError::Malformed);
        }
        let scale = Scale::parse(suffix)?;
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| QuantityError::TooLarge)?;
        let milli = scale.apply(digits, fraction.len()).ok_or(QuantityError::TooLarge)?;
        if negative && milli > 0 {
            return Err(QuantityError::Negative);
        }
        Ok(Self { milli })
    }

    /// So many whole units.
    pub const fn units(units: u64) -> Self {
        Self { milli: units as u128 * 1000 }
    }

    /// So many thousandths.
    pub const fn from_milli(milli: u64) -> Self {
        Self { milli: milli as u128 }
    }

    /// Thousandths, saturating.
    pub fn milli(self) -> u64 {
        u64::try_from(self.milli).unwrap_or(u64::MAX)
    }

    /// Whole units rounded up, saturating.
    pub fn units_rounded_up(self) -> u64 {
        u64::try_from(self.milli.div_ceil(1000)).unwrap_or(u64::MAX)
    }

    /// Whole units, if it is a whole number.
    pub fn whole(self) -> Option<u64> {
        self.milli.is_multiple_of(1000).then(|| u64::try_from(self.milli / 1000).ok()).flatten()
    }
}

/// What a suffix multiplies by.
enum Scale {
    Binary(u32),
    Decimal(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        Ok(match suffix {
            "n" => Self::Decimal(-9),
            "u" => Self::Decimal(-6),
            "m" => Self::Decimal(-3),
            "" => Self::Decimal(0),
            "k" => Self::Decimal(3),
            "M" => Self::Decimal(6),
            "G" => Self::Decimal(9),
            "T" => Self::Decimal(12),
            "P" => Self::Decimal(15),
            "E" => Self::Decimal(18),
            "Ki" => Self::Binary(10),
            "Mi" => Self::Binary(20),
            "Gi" => Self::Binary(30),
            "Ti" => Self::Binary(40),
            "Pi" => Self::Binary(50),
            "Ei" => Self::Binary(60),
            exponent => Self::Decimal(Self::exponent(exponent)?),
        })
    }

    fn exponent(text: &str) -> Result<i32, QuantityError> {
        let digits = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Malformed)?;
        let (sign, digits) = match digits.as_bytes().first() {
            Some(b'-') => (-1, &digits[1..]),
            Some(b'+') => (1, &digits[1..]),
            _ => (1, digits),
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Malformed);
        }
        let value: u32 = digits.parse().map_err(|_| QuantityError::TooLarge)?;
        if value > Quantity::EXPONENT_MAX {
            return Err(QuantityError::TooLarge);
        }
        i32::try_from(value).map(|value| sign * value).map_err(|_| QuantityError::TooLarge)
    }

    /// `digits` with `fraction_len` of them after the point, times the scale, in thousandths rounded up.
    fn apply(&self, digits: u128, fraction_len: usize) -> Option<u128> {
        let fraction_len = i32::try_from(fraction_len).ok()?;
        let (factor, exponent) = match self {
            Self::Binary(bits) => (1_u128.checked_shl(*bits)?, 3 - fraction_len),
            Self::Decimal(exponent) => (1, 3 - fraction_len + exponent),
        };
        let scaled = digits.checked_mul(factor)?;
        let power = 10_u128.checked_pow(exponent.unsigned_abs());
        if exponent >= 0 { scaled.checked_mul(power?) } else { Some(power.map_or(u128::from(scaled > 0), |power| scaled.div_ceil(power))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<u64, QuantityError>) {
        assert_eq!(Quantity::parse(text).map(Quantity::milli), expected, "{text:?}");
    }

    #[test]
    fn plain_fractional_and_suffixed_amounts_are_read() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("0.5", 500),
            ("500m", 500),
            (".5", 500),
            ("1.", 1000),
            ("1k", 1_000_000),
            ("1e3", 1_000_000),
            ("1E-3", 1),
            ("2Ki", 2_048_000),
            ("1.5Gi", 1_610_612_736_000),
            ("+3", 3000),
            ("-0", 0),
            ("999999u", 1000),
        ] {
            check(text, Ok(milli));
        }
    }

    #[test]
    fn amounts_below_a_thousandth_are_rounded_up() {
        check("0.3333", Ok(334));
        check("0.0001", Ok(1));
        check("1n", Ok(1));
        check("1e-18", Ok(1));
    }

    #[test]
    fn hostile_amounts_are_refused() {
        for text in ["", "-", "+", ".", "1.2.3", "1x", "--1", "+-1", "-+1", "1e", "1e+", "0x10", " 1", "1 ", "１"] {
            assert!(matches!(Quantity::parse(text), Err(QuantityError::Malformed)), "{text:?}");
        }
        check("-1", Err(QuantityError::Negative));
        check("1e999", Err(QuantityError::TooLarge));
        check("1e9223372036854775807", Err(QuantityError::TooLarge));
        check("2E6024865272343", Err(QuantityError::TooLarge));
        check(&"9".repeat(33), Err(QuantityError::TooLarge));
    }

    #[test]
    fn only_whole_numbers_are_whole() {
        let whole = |text| Quantity::parse(text).unwrap().whole();
        assert_eq!(whole("2"), Some(2));
        assert_eq!(whole("2000m"), Some(2));
        assert_eq!(whole("2500m"), None);
    }
}
