//! An HTTP/1.1 caller that hides nothing: it tells an answer that is complete from one that was
//! cut, which many libraries do not.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::wait::DEADLINE;

/// A request that is to be sent on a connection of its own.
#[derive(Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    head: String,
}

/// The head of an answer, and its body as it comes.
#[derive(Debug)]
pub(crate) struct Answer<S> {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Body<S>,
}

#[derive(Debug)]
struct Body<S> {
    from: BufReader<S>,
    framing: Framing,
}

/// How much of the body is still to come.
#[derive(Debug)]
enum Framing {
    Length(u64),
    /// In the current chunk; `None` before the next chunk's size, and at the end `done`.
    Chunked {
        left: u64,
        done: bool,
    },
    /// Until the connection ends.
    Close,
}

impl Request {
    /// A request with a `Host`, and no other header.
    pub(crate) fn new(address: SocketAddr, method: &str, path: &str, host: &str) -> Self {
        Self {
            address,
            head: format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n"),
        }
    }

    pub(crate) fn get(address: SocketAddr, path: &str, host: &str) -> Self {
        Self::new(address, "GET", path, host)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head += &format!("{name}: {value}\r\n");
        self
    }

    /// Sends it without a body.
    pub(crate) fn send(self) -> io::Result<Answer<TcpStream>> {
        Answer::read(self.connect()?)
    }

    /// Sends it with a body of `length` bytes, from another thread than the one that reads the
    /// answer, because a server may answer before it has read everything.
    pub(crate) fn send_body(
        self,
        length: u64,
        mut body: impl Read + Send + 'static,
    ) -> io::Result<Answer<TcpStream>> {
        let stream = self
            .header("content-length", &length.to_string())
            .connect()?;
        let mut writer = stream.try_clone()?;
        std::thread::spawn(move || io::copy(&mut body, &mut writer));
        Answer::read(stream)
    }

    /// Sends the head, and hands out the connection.
    pub(crate) fn connect(self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.write_all(format!("{}\r\n", self.head).as_bytes())?;
        Ok(stream)
    }
}

impl<S: Read> Answer<S> {
    /// Reads the head of an answer from any stream that a request was written to.
    pub(crate) fn read(stream: S) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(64 * 1024, stream);
        let first = line(&mut from)?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| io::Error::other(format!("not a status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = line(&mut from)?;
            match line.split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None if line.is_empty() => break,
                None => return Err(io::Error::other(format!("not a header: {line:?}"))),
            }
        }
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v);
        let framing = match (header("content-length"), header("transfer-encoding")) {
            (Some(length), _) => Framing::Length(length.parse().map_err(io::Error::other)?),
            (None, Some(_)) => Framing::Chunked {
                left: 0,
                done: false,
            },
            (None, None) if status == 204 || status < 200 => Framing::Length(0),
            (None, None) => Framing::Close,
        };
        Ok(Self {
            status,
            headers,
            body: Body { from, framing },
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    /// The whole body as text; an error of kind `UnexpectedEof` if it was cut.
    pub(crate) fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl<S: Read> Read for Answer<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.body.read(into)
    }
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunked { left: 0, done } = &mut self.framing {
            if *done {
                return Ok(0);
            }
            let size = line(&mut self.from)?;
            let size = size.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            if size == 0 {
                // Trailers, up to the empty line.
                while !line(&mut self.from)?.is_empty() {}
            }
            self.framing = Framing::Chunked {
                left: size,
                done: size == 0,
            };
            return self.read(into);
        }
        let (Framing::Length(left) | Framing::Chunked { left, .. }) = &mut self.framing else {
            return self.from.read(into);
        };
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.from.read(&mut into[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if matches!(self.framing, Framing::Chunked { left: 0, .. }) {
            line(&mut self.from)?;
        }
        Ok(count)
    }
}

/// One line without its end; an error if the connection ends before the line does.
fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[test]
fn a_cut_answer_is_told_from_a_whole_one() {
    let text = |answer: &str| Answer::read(answer.as_bytes()).and_then(Answer::text);
    let head = "HTTP/1.1 200 OK\r\n";
    for (body, whole) in [
        ("content-length: 5\r\n\r\nhello", Some("hello")),
        ("content-length: 6\r\n\r\nhello", None),
        (
            "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
            Some("hello"),
        ),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n",
            Some("hello"),
        ),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
        ("transfer-encoding: chunked\r\n\r\n5\r\nhel", None),
        (
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            None,
        ),
        ("\r\nhello", Some("hello")),
        ("content-le", None),
    ] {
        let got = text(&format!("{head}{body}"));
        assert_eq!(got.as_deref().ok(), whole, "{body:?}: {got:?}");
    }
}
