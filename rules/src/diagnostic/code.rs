//! The codes of diagnostics: stable names for what can be wrong, each with an explanation that stands alone.
//!
//! `S01xx` reading, `S02xx` shape, `S03xx` names, `S04xx` values, `S05xx` segments and addresses, `S06xx` rules,
//! tests and invariants, `S07xx` imports, `S09xx` warnings. A code is never given a second meaning.

use std::fmt;
use std::str::FromStr;

use super::Severity;

macro_rules! codes {
    ($($code:ident = $number:literal, $title:literal, $explanation:literal;)*) => {
        /// What is wrong, as a stable code. Prints as `S0101`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $code = $number,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// What it is, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }

            /// Why it is refused, and what to do.
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$code => $explanation,)* }
            }
        }
    };
}

codes! {
    InvalidUtf8 = 101, "the file is not UTF-8",
        "TOML and JSON are UTF-8. Save the file as UTF-8; the place is the first byte that is none.";
    Syntax = 102, "the file is neither TOML nor JSON",
        "The text breaks the TOML 1.1 grammar, or JSON's (RFC 8259) where the file begins with `{` or its name ends in `.json`. Nothing behind a syntax error is trusted, so names and values are checked only when the syntax is right.";
    DuplicateKey = 103, "a key is written twice",
        "A table says each key once, and in TOML each `[table]` header appears once. Remove one, or give the second another name.";
    TooLarge = 104, "a limit was reached",
        "Policies are read with limits on bytes, files, nesting and expanded lists, so that no file can exhaust the reader. The message names the limit.";
    IncludeFailed = 105, "an include could not be read",
        "`include` takes file names and globs, relative to the including file. A plain name must exist; a glob may match nothing.";
    IncludeCycle = 106, "files include each other",
        "A file that includes itself, directly or through others, has no beginning. Remove one of the includes.";

    UnknownKey = 201, "a key that the policy language does not know",
        "Unknown keys are refused rather than ignored: a misspelled `isolated` must not open a segment.";
    WrongType = 202, "a value of the wrong type",
        "The message names the type that is expected and the one that was found.";
    MissingKey = 203, "a required key is missing",
        "The message names the key; the place is the table that lacks it.";
    UnknownWord = 204, "a word that is none of the accepted ones",
        "The key takes one of a few words, all named in the message.";
    OutOfRange = 205, "a number out of range",
        "The message names the accepted range.";
    ConflictingKeys = 206, "keys that exclude each other",
        "Two keys say the same thing in different ways, or one has no meaning beside the other. Keep one.";
    EmptyList = 207, "a list that must not be empty",
        "An empty list here would mean `nothing`, which is never what was meant. Remove the key for its default, or list something.";
    UnsupportedVersion = 208, "a version of the policy language that this program does not know",
        "`version = 1` is the only version so far.";
    InvalidName = 209, "a name that cannot be one",
        "Names appear in selectors, labels and reports: they are not empty, at most 512 bytes, and hold no white space, quotes, parentheses, commas, `=`, `!`, `<` or `>`. Rule, test and invariant names are free text on one line.";
    DuplicateSetting = 210, "a setting is made in two files",
        "Included files share one set of settings; each may be made once.";
    InvalidDate = 211, "not a date",
        "Dates are written YYYY-MM-DD, as in `expires = 2027-03-31`, and must exist.";

    UnknownSegment = 301, "no segment has this name",
        "A workload's `segment` names a `[segment.NAME]`.";
    UnknownService = 302, "no service has this name",
        "A service is `any`, a protocol with optional ports (`tcp/443`, `udp/8000-8080`, `icmp/echo-request`), a protocol number, or a name from `[service]`.";
    UnknownNetwork = 303, "no network has this name",
        "`cidr:NAME` and an uplink's `cidr` refer to the names in `[cidr]`.";
    UnknownWorkload = 304, "no workload has this name",
        "Tests, invariants and `[lint]` name workloads as `[workload.NAME]` declares them.";
    UnknownRule = 305, "no rule has this name",
        "A test's `by`, and a `rule` in `[lint]`, name a `[[rule]]`.";
    DuplicateName = 306, "a name is declared twice",
        "Names are unique among their kind, through all included files. The related place is the first declaration.";
    ServiceCycle = 307, "services refer to each other in a circle",
        "A service may list other services, but not itself, directly or through others.";
    ReservedName = 308, "a name that already means something",
        "A service cannot be called like a protocol, and a network cannot be called like a keyword: the reader of a rule could not tell which is meant.";
    NobodyNamed = 309, "a test or invariant that speaks of nobody",
        "A test whose selector matches no workload would always pass, and promise nothing.";

    MalformedSelector = 401, "a selector that does not parse",
        "A selector is a label expression as `kubectl -l` takes it (`app=web,env in (prod,stage),!canary`), `cidr:NAME`, `world`, `any`, or a list of these.";
    MalformedService = 402, "a service that does not parse",
        "Write `tcp/443`, `tcp/8000-8080`, `tcp/443 from 1024-65535` (source ports), `icmp/echo-request`, `icmp/3/4`, `proto-99`, `any`.";
    MalformedAddress = 403, "not an IP address",
        "Write an IPv4 address as `10.0.0.1`, an IPv6 address as `fd00::1`, without a prefix length.";
    MalformedPrefix = 404, "not a prefix",
        "Write `10.0.0.0/8` or `fd00::/8`, host bits zero.";
    MalformedMac = 405, "not a MAC address",
        "Write six hexadecimal octets, as in `02:00:0a:0a:00:0b`.";
    MalformedDevice = 406, "not a device name",
        "The kernel takes 1 to 15 bytes without white space, `/`, `:` and `%`, and neither `.` nor `..` (linux `dev_valid_name`).";
    MalformedNamespace = 407, "not a network namespace",
        "Write a name under /run/netns (`web1`), an absolute path, or `pid:1234`.";
    ReservedLabel = 408, "a label that Septum sets itself",
        "`name`, `segment` and keys that begin with `septum.` are set automatically, and rules rely on them.";
    MalformedLabel = 409, "a label that no selector could name",
        "Keys and values hold no white space, quotes, parentheses, commas, `=`, `!`, `<` or `>`; a key is not empty.";
    MalformedSocket = 410, "not the path of a socket",
        "A socket has an absolute path of at most 107 bytes (unix(7)), and its two sides have one each.";

    OverlappingSubnets = 501, "subnets that overlap",
        "An address must belong to one segment, so subnets are disjoint. The related place is the other subnet.";
    DuplicateAddress = 502, "an address that two hold",
        "Addresses are unique: the directory that forwards by address could not choose. The related place is the first holder.";
    DuplicateMac = 503, "a MAC address that two workloads hold",
        "The guard and the directory know a workload by its MAC, so MACs are unique.";
    DuplicateDevice = 504, "a device that two ports name",
        "One device in one namespace is one port.";
    AddressOutsideSubnet = 505, "an address outside its segment's subnets",
        "A workload's addresses lie in the subnets of its segment; only an IPv6 link-local address may lie outside.";
    GatewayOutsideSubnet = 506, "a gateway outside its segment's subnets",
        "The switch answers for the gateway inside the segment, so it lies in one of the segment's subnets.";
    AddressIsGateway = 507, "a workload with a gateway's address",
        "The gateway's address is the switch's own.";
    UnusableAddress = 508, "an address that no host can have",
        "Network, broadcast, multicast, loopback and unspecified addresses name no single host.";
    NotAStation = 509, "a MAC address that no station can have",
        "A group address (its first octet is odd) or all zero names no single station. Locally made addresses begin with 02.";
    LinkLocalCollision = 510, "a link-local address that another workload derives from its MAC",
        "Each workload holds the link-local address made from its MAC (RFC 4291 appendix A), declared or not.";
    DuplicateVlan = 511, "a VLAN id that two segments hold",
        "On a trunk the VLAN id names the segment.";
    NoRoute = 512, "a gateway where there is no subnet",
        "A gateway needs a subnet that holds it.";

    RuleAction = 601, "a rule without exactly one action",
        "A rule says exactly one of `allow`, `deny` and `pass`, each with its list of services.";
    TestShape = 602, "a test that checks nothing, or two things",
        "A test either has `from`, `to` and `allow` or `deny`, or it has `packet` and `expect`.";
    MixedFamilies = 603, "IPv4 and IPv6 in one packet",
        "Source and destination of a packet are of one family.";
    NotWorld = 604, "an address that is not the world's",
        "In a test, a bare address stands for somebody outside. Name the workload instead, so that all its addresses are tested.";
    InvariantShape = 605, "an invariant without exactly one claim",
        "An invariant says exactly one of `never`, `only` and `blast_radius`.";
    NotInTests = 606, "a file of tests that declares something else",
        "A file of promises holds `[[test]]` and `[[invariant]]` only: they are judged against another policy.";

    ManifestSyntax = 701, "the manifest is not YAML",
        "A manifest is YAML 1.2 or JSON. What stands behind the place was not read.";
    NotAnObject = 702, "not an object of Kubernetes",
        "Every document of a manifest is an object with `apiVersion` and `kind`, or a `List` of such objects.";
    InvalidManifest = 703, "an object that Kubernetes would refuse",
        "The API server does not take such an object, so it has no meaning to import.";
    Unsupported = 704, "something that a policy cannot say",
        "An import is lossless or loud: leaving this out would change what is admitted. With `--skip-unsupported` a comment stands in its place.";
    DuplicateObject = 705, "an object that is there twice",
        "Two objects have the same kind, namespace and name, or the same address. Which of the two holds would depend on the order of the files.";
    MalformedFilter = 706, "a line that is no filter",
        "A ClassBench filter is `@source/length destination/length from : to from : to protocol/mask flags/mask` on one line.";

    NoEffect = 901, "a key that has no effect here",
        "The policy means the same without it; probably something else was meant.";
    ShadowedRule = 910, "a rule that never decides",
        "Every flow that the rule matches is decided, at every gate where it stands, by rules that come first (tier, priority, deny before pass before allow), at least one of them otherwise. This is decided on the meaning: over all pairs of workloads, named networks and services.";
    RedundantRule = 911, "a rule that changes nothing",
        "Without the rule every flow would be decided the same way, by other rules that last as long. Remove it, or narrow the other rule.";
    ContradictoryRules = 912, "an allow and a deny of equal priority that meet",
        "Among rules of one tier and priority, deny goes first: what both match is refused. Give one of them another priority to say which is meant.";
    NeverMatches = 913, "a rule that matches no flow",
        "No flow between workloads, gateways and the world fulfils the rule: its selectors mean nobody who meets, its `except` takes everything, or an isolated segment keeps its members apart anyway.";
    ExpiredRule = 914, "a rule that has expired",
        "`expires` is the last valid day (UTC). After it the rule matches nothing.";
    ExpiringRule = 915, "a rule that expires soon",
        "The rule has two weeks or less to live. Extend it, or plan for its end.";
    AnyToAny = 916, "a rule that allows everything",
        "It admits every service from everybody to everybody, so that everything behind it in the order never decides.";
    WorkloadWithoutRule = 917, "a workload that no rule speaks of",
        "Its gates decide by their default alone.";
    UnknownLabel = 918, "a label that nobody carries",
        "A selector asks for a label, or for a value of one, that no workload has. It may be misspelled. Conditions that hold where the label is absent (`!=`, `notin`, `!key`) are not reported.";
    UnusedService = 919, "a service that nothing uses",
        "No rule, test, invariant or other service names it.";
    UnusedNetwork = 920, "a network that nothing uses",
        "No rule, invariant or uplink names it.";
    NoPath = 921, "a rule that allows what has no path",
        "Everything that the rule allows goes between segments of which one has no gateway (of that address family), and the switch routes only between gateways.";
    OpenByDefault = 922, "gates that are open by default",
        "What no rule decides passes these gates. `run` refuses such a policy unless it is told `--allow-open`.";
    UnusedAllow = 923, "an entry of `[lint]` that allows nothing",
        "No finding of that code is about what the entry names: the policy has changed, or the entry never fitted. Remove it, so that it does not hide a later finding.";
    LeftOut = 930, "something that an import leaves out",
        "The object or field has no part in what is admitted, or `--skip-unsupported` was asked to leave it out.";
    ImportRemark = 931, "something about an import that its reader should know",
        "The import is exact, but the manifests leave something open or say something that has no effect.";
}

impl Code {
    /// The number behind the `S`.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether it is a finding of the lint about the policy, which `[lint]` can allow.
    pub const fn is_lint(self) -> bool {
        Self::ShadowedRule.number() <= self.number() && self.number() < Self::UnusedAllow.number()
    }

    /// Warnings are the codes from `S0900`.
    pub const fn severity(self) -> Severity {
        if self.number() >= 900 { Severity::Warning } else { Severity::Error }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S{:04}", self.number())
    }
}

/// No diagnostic has this code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no code of a diagnostic (S0101 ...)")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let known = Self::ALL.iter().find(|code| code.to_string().eq_ignore_ascii_case(text));
        known.copied().ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_and_printed_alike() {
        for code in Code::ALL {
            assert_eq!(code.to_string().parse(), Ok(*code));
            assert!(!code.title().is_empty() && code.explanation().ends_with('.'));
        }
        assert!("S9999".parse::<Code>().is_err());
    }
}
