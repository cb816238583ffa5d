//! The macro for enumerations that are sent as a number.

/// An enumeration that a later version may extend: a code it does not know is kept as `Unknown`.
macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A code of a later version.
            Unknown(u8),
        }

        impl $name {
            /// The code on the wire.
            pub fn code(self) -> u8 {
                match self { $($name::$variant => $code,)+ $name::Unknown(code) => code }
            }

            /// Reads a code.
            pub fn from_code(code: u8) -> Self {
                match code { $($code => $name::$variant,)+ code => $name::Unknown(code) }
            }

            /// The word for it, in lower case.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ $name::Unknown(_) => "unknown" }
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u8(self.code())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                Ok(Self::from_code(crate::fields::number(d)?))
            }
        }
    };
}

pub(crate) use open_enum;
