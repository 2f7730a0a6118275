//! A macro for enums of the wire whose set of values is open: a value we do not know is kept, not
//! refused.

/// Defines a newtype over an integer with named constants, `name()`, `Debug` by name, and the
/// conversions. The constants can be used as patterns.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub enum $type:ident: $repr:ty {
            $( $(#[$variant_meta:meta])* $variant:ident = $value:expr, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $type(pub $repr);

        #[allow(non_upper_case_globals)]
        impl $type {
            $( $(#[$variant_meta])* pub const $variant: Self = Self($value); )*

            /// Every value with a name, in order of definition.
            pub const NAMED: &'static [Self] = &[$(Self::$variant),*];

            /// The name of the value, if it has one.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$variant => Some(stringify!($variant)), )*
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($type), "({:#x})"), self.0),
                }
            }
        }

        impl From<$repr> for $type {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }

        impl From<$type> for $repr {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}

pub(crate) use open_enum;
