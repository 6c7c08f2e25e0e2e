//! The signatures over a question and all messages of its answer (TSIG, RFC 8945). Pure.

use hickory_proto::{
    ProtoError,
    op::Message,
    rr::{TSigner, rdata::tsig::TsigError},
    serialize::binary::BinEncoder,
};

use super::wire::{Answer, HEADER, Signature};

/// How many messages of an answer may come without a signature between two that are signed
/// (RFC 8945, section 5.3.1).
const UNSIGNED_IN_A_ROW: usize = 99;

/// Signs a question, then proves its answer: [`Chain::sign`] once, [`Chain::prove`] for every
/// message in order, and [`Chain::is_proven`] when the answer is complete.
///
/// hickory's own verifier wants a signature on every message, which Knot does not give.
pub(super) struct Chain {
    signer: TSigner,
    /// The last signature, which the next one covers.
    previous: Vec<u8>,
    /// The messages since then, which the next one covers as well.
    unsigned: Vec<u8>,
    unsigned_count: usize,
    answered: bool,
}

/// Why a message is not proven to come from the server that has the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproven {
    #[error("its answer is not signed")]
    Unsigned,
    #[error("its answer is signed with the key {0}")]
    OtherKey(String),
    #[error("the signature of its answer is wrong")]
    Wrong,
    /// The server says so of the question.
    #[error("{}", rejection(*.0))]
    Rejected(TsigError),
    /// By so many seconds is the server's clock ahead; behind if negative.
    #[error("its clock differs by {0} s")]
    Clock(i64),
}

impl Chain {
    /// Signs a question whose id and records are final. `now` is in seconds since 1970.
    pub(super) fn sign(
        signer: &TSigner,
        message: &mut Message,
        now: u64,
    ) -> Result<Self, ProtoError> {
        message.finalize(signer, now)?;
        let signature = message.signature().expect("it was signed just now");
        Ok(Self {
            signer: signer.clone(),
            previous: signature.data.mac.clone(),
            unsigned: Vec::new(),
            unsigned_count: 0,
            answered: false,
        })
    }

    /// Checks the next message of the answer. What is not signed is proven by a later one that is.
    pub(super) fn prove(
        &mut self,
        message: &[u8],
        answer: &Answer,
        now: u64,
    ) -> Result<(), Unproven> {
        let Some(signature) = &answer.signature else {
            return self.leave_unsigned(message);
        };
        if let Some(error) = signature.tsig.error {
            return Err(match clock_of_rejection(signature) {
                Some(server) => Unproven::Clock(difference(server, now)),
                None => Unproven::Rejected(error),
            });
        }
        if signature.key != *self.signer.signer_name()
            || signature.tsig.algorithm != *self.signer.algorithm()
        {
            let (key, algorithm) = (&signature.key, &signature.tsig.algorithm);
            return Err(Unproven::OtherKey(format!("{key} ({algorithm})")));
        }
        let covered = self.covered(message, signature).ok_or(Unproven::Wrong)?;
        self.signer
            .verify(&covered, &signature.tsig.mac)
            .map_err(|_| Unproven::Wrong)?;
        let ahead = difference(signature.tsig.time, now);
        if ahead.unsigned_abs() > u64::from(self.signer.fudge()) {
            return Err(Unproven::Clock(ahead));
        }
        self.previous.clone_from(&signature.tsig.mac);
        self.unsigned.clear();
        self.unsigned_count = 0;
        self.answered = true;
        Ok(())
    }

    /// Whether all messages so far are covered by a signature.
    pub(super) fn is_proven(&self) -> bool {
        self.answered && self.unsigned_count == 0
    }

    fn leave_unsigned(&mut self, message: &[u8]) -> Result<(), Unproven> {
        if !self.answered || self.unsigned_count == UNSIGNED_IN_A_ROW {
            return Err(Unproven::Unsigned);
        }
        self.unsigned.extend_from_slice(message);
        self.unsigned_count += 1;
        Ok(())
    }

    /// The bytes that the signature covers (RFC 8945, sections 4.3 and 5.3.1).
    fn covered(&self, message: &[u8], signature: &Signature) -> Option<Vec<u8>> {
        let tsig = &signature.tsig;
        let mut covered = Vec::with_capacity(self.unsigned.len() + message.len() + 128);
        let length = u16::try_from(self.previous.len()).ok()?;
        covered.extend(length.to_be_bytes());
        covered.extend(&self.previous);
        covered.extend(&self.unsigned);
        // The message as it was before it was signed: with its first id, one record less.
        let [_, _, flags @ .., more, less] = message.first_chunk::<HEADER>()?;
        let additionals = u16::from_be_bytes([*more, *less]).checked_sub(1)?;
        covered.extend(tsig.oid.to_be_bytes());
        covered.extend(flags);
        covered.extend(additionals.to_be_bytes());
        covered.extend(message.get(HEADER..signature.begins)?);
        if self.answered {
            covered.extend(&tsig.time.to_be_bytes()[2..]);
            covered.extend(tsig.fudge.to_be_bytes());
        } else {
            let mut variables = Vec::new();
            let mut encoder = BinEncoder::new(&mut variables);
            tsig.emit_tsig_for_mac(&mut encoder, &signature.key).ok()?;
            covered.extend(variables);
        }
        Some(covered)
    }
}

/// The server's time when it says that the clocks are apart (RFC 8945, section 5.2.3).
fn clock_of_rejection(signature: &Signature) -> Option<u64> {
    let bytes: [u8; 6] = signature.tsig.other.as_slice().try_into().ok()?;
    let bad_time = signature.tsig.error == Some(TsigError::BadTime);
    bad_time.then(|| {
        bytes
            .iter()
            .fold(0, |time, byte| time << 8 | u64::from(*byte))
    })
}

/// By how much `server` is ahead of `now`.
fn difference(server: u64, now: u64) -> i64 {
    let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    seconds(server).saturating_sub(seconds(now))
}

fn rejection(error: TsigError) -> String {
    match error {
        TsigError::BadSig => "it finds our signature wrong (BADSIG)".to_owned(),
        TsigError::BadKey => "it does not take this key here (BADKEY)".to_owned(),
        TsigError::BadTime => "it finds our clock wrong (BADTIME)".to_owned(),
        TsigError::BadTrunc => "it finds our signature too short (BADTRUNC)".to_owned(),
        TsigError::Unknown(code) => format!("it rejects our signature with the code {code}"),
    }
}
