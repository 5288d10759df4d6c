//! Small sets of named flags, as one number that the store can keep.

/// Makes an enum of flags and a set of them. A flag's bit is its position: append, never reorder, since the bits are stored.
macro_rules! flags {
    ($(#[$doc:meta])* $flag:ident, $(#[$set_doc:meta])* $set:ident { $($(#[$each:meta])* $name:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $flag { $($(#[$each])* $name,)+ }

        impl $flag {
            /// All of them, in the order of their bits.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable short name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            const fn bit(self) -> u16 {
                1 << self as u16
            }
        }

        $(#[$set_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $set(u16);

        impl $set {
            /// The set as stored; bits that this version does not know survive the round trip.
            pub const fn from_bits(bits: u16) -> Self {
                Self(bits)
            }

            pub const fn bits(self) -> u16 {
                self.0
            }

            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            pub const fn contains(self, flag: $flag) -> bool {
                self.0 & flag.bit() != 0
            }

            pub const fn insert(&mut self, flag: $flag) {
                self.0 |= flag.bit();
            }

            /// The flags of the set that this version knows.
            pub fn iter(self) -> impl Iterator<Item = $flag> {
                $flag::ALL.iter().copied().filter(move |f| self.contains(*f))
            }
        }

        impl FromIterator<$flag> for $set {
            fn from_iter<I: IntoIterator<Item = $flag>>(flags: I) -> Self {
                let mut set = Self::default();
                flags.into_iter().for_each(|f| set.insert(f));
                set
            }
        }

        /// The names with commas between.
        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                for (i, flag) in self.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{}", flag.name())?;
                }
                Ok(())
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.iter()).finish()
            }
        }
    };
}

pub(super) use flags;

#[cfg(test)]
#[expect(unreachable_pub, reason = "what the macro makes is public where it is used")]
mod tests {
    flags! {
        Colour,
        Colours {
            Red = "red",
            Blue = "blue",
        }
    }

    #[test]
    fn a_set_is_its_bits_and_shows_its_names() {
        let both = Colours::from_iter([Colour::Blue, Colour::Red, Colour::Red]);
        assert_eq!((both.bits(), both.to_string().as_str()), (0b11, "red,blue"));
        assert!(Colours::default().is_empty() && Colours::default().to_string().is_empty());
        assert!(!Colours::from_iter([Colour::Red]).contains(Colour::Blue));
    }

    #[test]
    fn unknown_bits_survive_but_do_not_show() {
        let newer = Colours::from_bits(0b1000_0010);
        assert_eq!((newer.bits(), newer.to_string().as_str()), (0b1000_0010, "blue"));
    }
}
