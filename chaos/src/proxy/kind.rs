//! The catalogue: every kind of fault, what it does, and its parameters with units and defaults.

use std::fmt;
use std::str::FromStr;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Bytes and datagrams arrive later.
    Latency,
    /// So many bytes a second, of all connections together.
    Bandwidth,
    /// TCP arrives in small pieces.
    Slice,
    /// The end of a TCP connection arrives later than its bytes.
    SlowClose,
    /// A TCP connection ends before all is said.
    Truncate,
    /// A TCP connection is reset.
    Reset,
    /// A TCP connection is there, and says nothing.
    Timeout,
    /// Bits flip.
    Corrupt,
    /// Nothing passes.
    Cut,
    /// Datagrams are lost.
    Loss,
    /// Datagrams arrive twice.
    Duplicate,
    /// Datagrams are overtaken by later ones.
    Reorder,
    /// The server sees UDP callers come from another port.
    Rebind,
}

/// What a kind of fault can be applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// TCP only.
    Tcp,
    /// UDP only.
    Udp,
    /// Both.
    Both,
}

/// What there is to know of a kind of fault before using it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As it is written.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub about: &'static str,
    /// Where it has an effect.
    pub applies: Applies,
    /// Its parameters.
    pub parameters: &'static [Parameter],
}

/// A parameter of a kind of fault.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// As it is written.
    pub name: &'static str,
    /// How its value is written.
    pub unit: Unit,
    /// Its value unless another is given; none if it may be absent.
    pub default: Option<&'static str>,
    /// What it says.
    pub about: &'static str,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `250ms`, `5s`, `2m`.
    Duration,
    /// `512B`, `16KiB`, `1MiB`.
    Size,
    /// The same a second, or bits a second: `10Mbit`.
    Rate,
    /// `5%`, `0.01%`.
    Share,
}

/// A name that no kind of fault has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault \"{name}\"; there is {}", all_names())]
pub struct UnknownKind {
    name: String,
}

impl Kind {
    /// All there are, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Latency,
        Self::Bandwidth,
        Self::Cut,
        Self::Timeout,
        Self::Reset,
        Self::Truncate,
        Self::SlowClose,
        Self::Slice,
        Self::Corrupt,
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Rebind,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        self.description().name
    }

    /// What there is to know of it.
    pub fn description(self) -> &'static Description {
        match self {
            Self::Latency => &LATENCY,
            Self::Bandwidth => &BANDWIDTH,
            Self::Slice => &SLICE,
            Self::SlowClose => &SLOW_CLOSE,
            Self::Truncate => &TRUNCATE,
            Self::Reset => &RESET,
            Self::Timeout => &TIMEOUT,
            Self::Corrupt => &CORRUPT,
            Self::Cut => &CUT,
            Self::Loss => &LOSS,
            Self::Duplicate => &DUPLICATE,
            Self::Reorder => &REORDER,
            Self::Rebind => &REBIND,
        }
    }
}

impl Applies {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Both => "TCP and UDP",
        }
    }
}

impl Unit {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Rate => "bytes or bits a second",
            Self::Share => "share",
        }
    }

    /// How values are written.
    pub fn written(self) -> &'static str {
        match self {
            Self::Duration => "250ms, 5s, 2m",
            Self::Size => "512B, 16KiB, 1MiB",
            Self::Rate => "64KiB, 1MiB, 10Mbit",
            Self::Share => "5%, 0.01%",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let known = Self::ALL.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| UnknownKind {
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn all_names() -> String {
    Kind::ALL.map(Kind::name).join(", ")
}

const fn parameter(
    name: &'static str,
    unit: Unit,
    default: Option<&'static str>,
    about: &'static str,
) -> Parameter {
    Parameter {
        name,
        unit,
        default,
        about,
    }
}

const LATENCY: Description = Description {
    name: "latency",
    about: "Everything arrives later, in the order in which it was sent.",
    applies: Applies::Both,
    parameters: &[
        parameter("delay", Unit::Duration, Some("100ms"), "how much later"),
        parameter(
            "jitter",
            Unit::Duration,
            Some("0s"),
            "up to so much more or less, at random",
        ),
    ],
};

const BANDWIDTH: Description = Description {
    name: "bandwidth",
    about: "So many bytes a second, of all connections together. TCP senders beyond it wait, UDP datagrams beyond it are lost.",
    applies: Applies::Both,
    parameters: &[
        parameter("rate", Unit::Rate, Some("64KiB"), "how much a second"),
        parameter(
            "queue",
            Unit::Duration,
            Some("100ms"),
            "what may wait of each connection, in time at that rate, at least 16KiB; long: a bloated queue",
        ),
    ],
};

const CUT: Description = Description {
    name: "cut",
    about: "Nothing passes. TCP connections stay open and go on where they were when it is over; new ones are accepted by the system and wait. UDP datagrams are lost. With a direction in front it is a one-way cut.",
    applies: Applies::Both,
    parameters: &[],
};

const TIMEOUT: Description = Description {
    name: "timeout",
    about: "TCP connections are accepted, and then there is silence: what is sent is thrown away. A connection that lost bytes so is closed when the fault is over, since it could not go on.",
    applies: Applies::Tcp,
    parameters: &[parameter(
        "after",
        Unit::Duration,
        Some("0s"),
        "close the connection after so long; 0s: never",
    )],
};

const RESET: Description = Description {
    name: "reset",
    about: "TCP connections end with a reset (RST), new ones too: up resets the server's side, down the caller's; the other side sees an end.",
    applies: Applies::Tcp,
    parameters: &[
        parameter(
            "after",
            Unit::Duration,
            Some("0s"),
            "how long after the connection began, or the fault",
        ),
        parameter(
            "bytes",
            Unit::Size,
            None,
            "once so many bytes have passed since then, instead of after a time",
        ),
    ],
};

const TRUNCATE: Description = Description {
    name: "truncate",
    about: "TCP connections are closed, both ways, once so many bytes have passed: the reader sees an end in the middle.",
    applies: Applies::Tcp,
    parameters: &[parameter(
        "bytes",
        Unit::Size,
        Some("1KiB"),
        "how many bytes still pass, counted from when the connection began, or the fault",
    )],
};

const SLOW_CLOSE: Description = Description {
    name: "slow-close",
    about: "The end of a TCP connection (FIN) is passed on later than the bytes before it.",
    applies: Applies::Tcp,
    parameters: &[parameter(
        "delay",
        Unit::Duration,
        Some("1s"),
        "how much later",
    )],
};

const SLICE: Description = Description {
    name: "slice",
    about: "TCP arrives in small pieces with pauses between them, whatever was written at once.",
    applies: Applies::Tcp,
    parameters: &[
        parameter("size", Unit::Size, Some("1B"), "the most of a piece"),
        parameter(
            "pause",
            Unit::Duration,
            Some("1ms"),
            "the least between two pieces",
        ),
    ],
};

const CORRUPT: Description = Description {
    name: "corrupt",
    about: "Single bits flip. Checksums of TCP and UDP are right nevertheless, so that only what is spoken over them can notice.",
    applies: Applies::Both,
    parameters: &[parameter(
        "rate",
        Unit::Share,
        Some("0.01%"),
        "how many of the bytes have a bit flipped",
    )],
};

const LOSS: Description = Description {
    name: "loss",
    about: "Datagrams are lost, each by itself.",
    applies: Applies::Udp,
    parameters: &[parameter(
        "rate",
        Unit::Share,
        Some("1%"),
        "how many of them",
    )],
};

const DUPLICATE: Description = Description {
    name: "duplicate",
    about: "Datagrams arrive twice.",
    applies: Applies::Udp,
    parameters: &[parameter(
        "rate",
        Unit::Share,
        Some("1%"),
        "how many of them",
    )],
};

const REORDER: Description = Description {
    name: "reorder",
    about: "Datagrams are held back, so that later ones overtake them.",
    applies: Applies::Udp,
    parameters: &[
        parameter("rate", Unit::Share, Some("1%"), "how many of them"),
        parameter("delay", Unit::Duration, Some("10ms"), "how long"),
    ],
};

const REBIND: Description = Description {
    name: "rebind",
    about: "Happens once: from now on the server sees each UDP caller come from a new port, as after a change of a NAT's mind. What it still sends to the old ports is lost.",
    applies: Applies::Udp,
    parameters: &[],
};
