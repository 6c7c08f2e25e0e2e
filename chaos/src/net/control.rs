//! Running wires over HTTP/1.1, by [`Control`].
//!
//! | method and path | |
//! | --- | --- |
//! | `GET /` | these paths, text |
//! | `GET /wires` | every wire by name: what it does to packets, what it has done, and how many are on the way |
//! | `GET /wires/NAME` | the same of one |
//! | `PUT /wires/NAME`, `…/up`, `…/down` | what it does from now on; the body is a [`document`](crate::wire::document), and what that does not name is as on a link that does nothing |
//! | `PATCH /wires/NAME`, `…/up`, `…/down` | changes what the body names, and nothing else |
//! | `PUT /wires/NAME/cut`, `…/cut/up`, `…/cut/down` | nothing enters it |
//! | `DELETE /wires/NAME/cut`, `…/cut/up`, `…/cut/down` | mends it |
//! | `PUT /wires/NAME/rebind` | new public ports for who is behind its NAT |
//!
//! A body is read whole before any of it is done, so one that is wrong changes nothing. What is on a wire when that
//! is changed stays there, and arrives.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use relay::settings::ListenAddr;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::{Error, Wire, Wires};
use crate::{
    control::{Control, ControlError, Refusal, Told},
    wire::{Shape, Way, document::Change},
};

const INDEX: &str = "\
wires

GET    /wires                 every wire: what it does to packets, what it has done
GET    /wires/NAME            one of them
PUT    /wires/NAME            what it does from now on, both ways; body: {\"delay\": \"100ms\", \"loss\": \"5%\"},
                              or {\"link\": \"satellite\"}, or both: what is not named is as on a clear link
PATCH  /wires/NAME            changes what is named, and nothing else
PUT    /wires/NAME/cut        nothing enters it; what is on it arrives
DELETE /wires/NAME/cut        mends it
PUT    /wires/NAME/rebind     new public ports for who is behind its NAT

With /up at the end only from who dials, with /down only towards them; rebind has no direction.
Keys: link, delay, jitter, loss, reorder, duplicate, corrupt, rate, queue, mtu, cut, udp_blocked, tcp_blocked
Links: clear, datacentre, home-wifi, 4g, transatlantic, satellite, dying
";

/// Control of wires on a thread of its own, for programs that have no runtime. Dropping it ends it.
#[derive(Debug)]
pub struct Controlling {
    address: ListenAddr,
    /// Dropped at the end, which the thread notices.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why wires cannot be controlled.
#[derive(Debug, thiserror::Error)]
pub enum ControllingError {
    /// It cannot be listened for that.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// There is no thread or runtime for it.
    #[error(transparent)]
    System(#[from] Error),
}

impl Controlling {
    /// Answers at this address, which is loopback or a unix socket, about these wires.
    ///
    /// # Errors
    /// As [`Control::bind`], and if the system has no thread.
    pub fn begin(address: &ListenAddr, wires: Wires) -> Result<Self, ControllingError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("make a runtime"))?;
        let control = {
            let _entered = runtime.enter();
            Control::bind(address, "the control address")?
        };
        let address = control.address();
        let (running, ended) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = control.serve(wires) => {}
                    _ = ended => {}
                }
            });
        };
        let thread = thread::Builder::new()
            .name("wire control".to_owned())
            .spawn(serve)
            .map_err(Error::system("start a thread"))?;
        Ok(Self {
            address,
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// Where it answers; the port is the real one.
    pub fn address(&self) -> &ListenAddr {
        &self.address
    }
}

impl Drop for Controlling {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl From<Wires> for Told {
    fn from(wires: Wires) -> Self {
        let router = Router::new()
            .route("/", get(|| async { INDEX }))
            .route("/wires", get(list))
            .route("/wires/{name}", get(show).put(replace).patch(amend))
            .route("/wires/{name}/cut", put(cut).delete(mend))
            .route("/wires/{name}/cut/{way}", put(cut).delete(mend))
            .route("/wires/{name}/rebind", put(rebind))
            .route("/wires/{name}/{way}", put(replace).patch(amend))
            .layer(middleware::from_fn(without_query))
            .with_state(wires);
        Self(router)
    }
}

/// `NAME` or `NAME/WAY` of a path.
type Which = Path<Vec<(String, String)>>;

/// The wire, and which ways of it.
type Chosen = (Arc<Wire>, Vec<Way>);

async fn list(State(wires): State<Wires>) -> Json<Value> {
    let all = wires.all();
    let all: Map<String, Value> = all
        .iter()
        .map(|wire| (wire.name().to_owned(), shown(wire)))
        .collect();
    Json(all.into())
}

async fn show(State(wires): State<Wires>, which: Which) -> Response {
    answer(choose(&wires, &which), |_| Ok(()))
}

async fn replace(State(wires): State<Wires>, which: Which, body: Bytes) -> Response {
    set(choose(&wires, &which), &body, Change::of_everything)
}

async fn amend(State(wires): State<Wires>, which: Which, body: Bytes) -> Response {
    set(choose(&wires, &which), &body, |change| change)
}

async fn cut(State(wires): State<Wires>, which: Which, body: Bytes) -> Response {
    set_cut(choose(&wires, &which).and_then(without(&body)), true)
}

async fn mend(State(wires): State<Wires>, which: Which, body: Bytes) -> Response {
    set_cut(choose(&wires, &which).and_then(without(&body)), false)
}

async fn rebind(State(wires): State<Wires>, which: Which, body: Bytes) -> Response {
    let chosen = choose(&wires, &which).and_then(without(&body));
    answer(chosen, |(wire, _)| {
        if wire.has_nat() {
            wire.rebind();
            Ok(())
        } else {
            Err(Refusal::bad(format!(
                "{} has no NAT, so there are no ports to change; lay it with one",
                wire.name()
            )))
        }
    })
}

fn set(
    chosen: Result<Chosen, Refusal>,
    body: &[u8],
    meaning: impl FnOnce(Change) -> Change,
) -> Response {
    answer(chosen, |(wire, ways)| {
        let change = Change::from_json(body).map_err(Refusal::bad)?;
        let change = meaning(change);
        for way in ways {
            wire.change(*way, |before| change.apply(*way, before));
        }
        Ok(())
    })
}

fn set_cut(chosen: Result<Chosen, Refusal>, cut: bool) -> Response {
    answer(chosen, |(wire, ways)| {
        for way in ways {
            wire.change(*way, |before| Shape { cut, ..before });
        }
        Ok(())
    })
}

/// Of what takes no body: whoever sends one means something else.
fn without(body: &Bytes) -> impl FnOnce(Chosen) -> Result<Chosen, Refusal> {
    let is_empty = body.is_empty();
    move |chosen| match is_empty {
        true => Ok(chosen),
        false => Err(Refusal::bad("a body means nothing here; leave it out")),
    }
}

/// No path takes a query: whoever sends one means something else.
async fn without_query(request: Request, next: Next) -> Response {
    match request.uri().query() {
        None | Some("") => next.run(request).await,
        Some(query) => Refusal::bad(format!(
            "\"?{query}\" means nothing here: a wire stays as it is until it is changed again"
        ))
        .into_response(),
    }
}

/// Does it, and shows what the wire is then.
fn answer(
    chosen: Result<Chosen, Refusal>,
    act: impl FnOnce(&Chosen) -> Result<(), Refusal>,
) -> Response {
    let done = chosen.and_then(|chosen| {
        act(&chosen)?;
        Ok(Json(shown(&chosen.0)))
    });
    done.into_response()
}

fn choose(wires: &Wires, which: &Which) -> Result<Chosen, Refusal> {
    let named = |part: &str| which.iter().find(|(it, _)| it == part).map(|(_, it)| it);
    let name = named("name").map_or("", String::as_str);
    let wire = wires.find(name).ok_or_else(|| {
        let all = wires.all();
        let all: Vec<_> = all.iter().map(|wire| wire.name()).collect();
        Refusal::unknown(format!(
            "there is no wire \"{name}\"; there is {}",
            all.join(", ")
        ))
    })?;
    let Some(way) = named("way") else {
        return Ok((wire, Way::ALL.to_vec()));
    };
    let known = Way::ALL.into_iter().find(|known| known.name() == way);
    let way = known.ok_or_else(|| {
        Refusal::unknown(format!(
            "there is no way \"{way}\"; there is up (from who dials) and down (towards them)"
        ))
    })?;
    Ok((wire, vec![way]))
}

fn shown(wire: &Wire) -> Value {
    let link = wire.link();
    let of = |way: Way| {
        json!({
            "link": link.shape(way).to_json(),
            "tally": wire.tally(way).to_json(),
            "refused": wire.refused(way),
            "on_the_way": wire.on_the_way(way),
        })
    };
    json!({
        "up": of(Way::Up),
        "down": of(Way::Down),
        "nat": wire.has_nat(),
    })
}
