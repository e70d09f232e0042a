//! `[conntrack]`: how long and how many connections are remembered, and how closely TCP is followed.
//!
//! Timeouts are named and preset as Linux has them (`net.netfilter.nf_conntrack_*`,
//! Documentation/networking/nf_conntrack-sysctl.rst); where Linux has none, the line says so. Seconds.

/// What `[conntrack]` says; the default is what holds where it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackSettings {
    /// What becomes of TCP segments outside the window.
    pub tcp: TcpTracking,
    /// For how many seconds after its start the switch takes up TCP connections that were under way. Zero: it never does.
    pub pick_up: u32,
    /// Connections that one workload may have opened at the same time.
    pub connections_per_workload: u32,
    /// Of these, those whose handshake is not complete.
    pub half_open_per_workload: u32,
    /// Packets of one workload whose fragments are on their way.
    pub fragments_per_workload: u32,
    /// By [`Timeout`].
    pub timeouts: Timeouts,
}

impl Default for ConntrackSettings {
    fn default() -> Self {
        Self {
            tcp: TcpTracking::default(),
            pick_up: 0,
            connections_per_workload: 131_072,
            half_open_per_workload: 4_096,
            fragments_per_workload: 512,
            timeouts: Timeouts::default(),
        }
    }
}

/// What becomes of TCP segments outside the window. In neither case do they change what is known of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpTracking {
    /// They pass: the end that they are for judges them itself.
    #[default]
    Loose,
    /// They are refused.
    Strict,
}

macro_rules! timeouts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $seconds:literal;)+) => {
        /// A timeout of `[conntrack.timeouts]`: how long a connection that is silent in this state is remembered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Timeout { $($(#[doc = $doc])+ $variant,)+ }

        impl Timeout {
            /// Every timeout; `ALL[timeout as usize] == timeout`.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its key.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Seconds, where the policy says nothing.
            pub const fn preset(self) -> u32 {
                match self { $(Self::$variant => $seconds,)+ }
            }
        }
    };
}

timeouts! {
    /// TCP: the opener's SYN.
    TcpSynSent = "tcp_syn_sent", 120;
    /// TCP: both SYNs.
    TcpSynReceived = "tcp_syn_recv", 60;
    /// TCP: the handshake is complete.
    TcpEstablished = "tcp_established", 432_000;
    /// TCP: one side has sent FIN.
    TcpFinWait = "tcp_fin_wait", 120;
    /// TCP: that FIN was acknowledged.
    TcpCloseWait = "tcp_close_wait", 60;
    /// TCP: both have sent FIN.
    TcpLastAck = "tcp_last_ack", 30;
    /// TCP: both FINs were acknowledged.
    TcpTimeWait = "tcp_time_wait", 120;
    /// TCP: reset.
    TcpClose = "tcp_close", 10;
    /// TCP: after a reset that is not exactly in sequence, until somebody speaks (not in Linux).
    TcpDoubted = "tcp_doubted", 300;
    /// UDP: unanswered.
    Udp = "udp", 30;
    /// UDP: answered.
    UdpStream = "udp_stream", 120;
    /// ICMP queries.
    Icmp = "icmp", 30;
    /// ICMPv6 queries.
    Icmp6 = "icmp6", 30;
    /// SCTP: INIT was sent.
    SctpCookieWait = "sctp_cookie_wait", 3;
    /// SCTP: the cookie was sent back.
    SctpCookieEchoed = "sctp_cookie_echoed", 3;
    /// SCTP: associated.
    SctpEstablished = "sctp_established", 210;
    /// SCTP: one side shuts down.
    SctpShutdown = "sctp_shutdown_sent", 3;
    /// SCTP: that was acknowledged.
    SctpShutdownAck = "sctp_shutdown_ack_sent", 3;
    /// SCTP: over.
    SctpClosed = "sctp_closed", 10;
    /// All other protocols.
    Generic = "generic", 600;
    /// Fragments of one packet (`net.ipv4.ipfrag_time`).
    Fragments = "fragments", 30;
}

impl Timeout {
    /// The longest that may be set: a year.
    pub const MOST: u32 = 31_536_000;
}

/// Seconds of every timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts([u32; Timeout::ALL.len()]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(Timeout::ALL.map(Timeout::preset))
    }
}

impl Timeouts {
    /// The seconds of one.
    pub const fn seconds(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize]
    }

    /// Sets one.
    pub const fn set(&mut self, timeout: Timeout, seconds: u32) {
        self.0[timeout as usize] = seconds;
    }
}
