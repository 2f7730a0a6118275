//! Open enums: an integer whose known values have names and whose unknown values are kept.

/// Declares a newtype over an integer with one associated constant per known value, a `Display` that
/// says what the value means, and a `Debug` that names the constant.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($int:ty) called $noun:literal;
        $( $(#[$value_meta:meta])* $variant:ident = $value:expr, $text:literal; )*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $int);

        impl $name {
            $(
                #[doc = concat!("\"", $text, "\".")]
                $(#[$value_meta])*
                pub const $variant: Self = Self($value);
            )*

            /// From the integer; every value is one.
            pub const fn from_bits(value: $int) -> Self {
                Self(value)
            }

            /// The integer.
            pub const fn into_bits(self) -> $int {
                self.0
            }

            /// The meaning in words, where the specification gives this value one.
            pub const fn text(self) -> Option<&'static str> {
                $( if self.0 == $value { return Some($text); } )*
                None
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.text() {
                    Some(text) => f.write_str(text),
                    None => write!(f, concat!("unknown ", $noun, " {:#x}"), self.0),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                $( if self.0 == $value {
                    return f.write_str(concat!(stringify!($name), "::", stringify!($variant)));
                } )*
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl From<$int> for $name {
            fn from(value: $int) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $int {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

pub(crate) use open_enum;
