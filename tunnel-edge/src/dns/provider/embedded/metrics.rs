//! What the name server counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::answer::{Code, Transport};

/// Answers, by transport and code.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerMetrics {
    /// Looked up once, and not for each answer.
    udp: [Counter; Code::ALL.len()],
    tcp: [Counter; Code::ALL.len()],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    transport: &'static str,
    code: &'static str,
}

impl ServerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let answers = Family::<Answer, Counter>::default();
        registry.register(
            "causeway_dns_answers",
            "Answers of the embedded name server, by transport and response code",
            answers.clone(),
        );
        let counters = |transport| {
            Code::ALL.map(|code| {
                let code = code.label();
                answers.get_or_create_owned(&Answer { transport, code })
            })
        };
        Self {
            udp: counters("udp"),
            tcp: counters("tcp"),
        }
    }

    pub(super) fn answered(&self, transport: Transport, code: Code) {
        let counters = match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        };
        counters[code as usize].inc();
    }
}
