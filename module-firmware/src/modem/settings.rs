//! What the actor is told: where to connect, over which access point, and how patient to be.

/// Longest host name in bytes.
pub const HOST_MAX_BYTES: usize = 64;
/// Longest name of an access point in bytes.
pub const APN_MAX_BYTES: usize = 63;
/// Longest user name or password of an access point in bytes.
pub const CREDENTIAL_MAX_BYTES: usize = 32;

/// An access point; user and password are empty where none are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access<'a> {
    /// Its name.
    pub apn: &'a str,
    /// User name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
}

/// Where to connect, and how.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) access: Access<'a>,
    /// How patient to be.
    pub timeouts: Timeouts,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// Longer than its limit, or empty where it must not be.
    Length,
    /// It has a character that cannot stand in a command: a quote, a backslash, or what is not printable ASCII.
    Character,
}

impl<'a> Config<'a> {
    /// Checks that all of it can be put into a command.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(host: &'a str, port: u16, access: Access<'a>) -> Result<Self, ConfigError> {
        if host.is_empty() {
            return Err(ConfigError::Length);
        }
        let words = [
            (host, HOST_MAX_BYTES),
            (access.apn, APN_MAX_BYTES),
            (access.user, CREDENTIAL_MAX_BYTES),
            (access.password, CREDENTIAL_MAX_BYTES),
        ];
        for (word, longest) in words {
            if word.len() > longest {
                return Err(ConfigError::Length);
            }
            if !word.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
                return Err(ConfigError::Character);
            }
        }
        Ok(Self { host, port, access, timeouts: Timeouts::default() })
    }
}

/// How patient the actor is, in milliseconds. Tests use shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// No answer is waited for longer than this, however long its command may take.
    pub answer_max_ms: u32,
    /// A modem that may be on already is asked for so long.
    pub probe_ms: u32,
    /// A modem that was switched on answers within this; `None` for what its family takes.
    pub boot_ms: Option<u32>,
    /// The PWRKEY is held for at most this, and a modem waited for to go off.
    pub power_max_ms: u32,
    /// A line is quiet when nothing was said for this.
    pub quiet_ms: u32,
    /// SIM and registration are asked for this often.
    pub poll_ms: u32,
    /// Without a SIM card or a network for so long, the modem is switched off and on.
    pub registration_ms: u32,
    /// Connecting takes at most this: shorter than [`crate::link::CONNECT_TIMEOUT`].
    pub open_ms: u32,
    /// The signal is asked for this often; it shows that the modem is there, too.
    pub signal_ms: u32,
    /// Data is looked for this often even if the modem tells of none.
    pub data_poll_ms: u32,
    /// The first wait before a modem is switched off and on; doubled up to the longest.
    pub cycle_first_ms: u64,
    /// The longest wait before a modem is switched off and on.
    pub cycle_max_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            answer_max_ms: u32::MAX,
            probe_ms: 3_000,
            boot_ms: None,
            power_max_ms: u32::MAX,
            quiet_ms: 200,
            poll_ms: 2_000,
            registration_ms: 180_000,
            open_ms: 30_000,
            signal_ms: 60_000,
            data_poll_ms: 20_000,
            cycle_first_ms: 1_000,
            cycle_max_ms: 300_000,
        }
    }
}
