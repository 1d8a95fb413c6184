//! A small HTTP/1.1 client over one keep-alive connection, as kube-scheduler's: headers and body in one write, no
//! delay, a time-out on everything, answers with Content-Length only. For loopback and port-forwards: no TLS.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};

use super::Advice;

/// A connection that is opened when it is first needed, and again after the server closed it.
#[derive(Debug)]
pub(super) struct Client {
    address: String,
    stream: Option<TcpStream>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// The status code.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl Client {
    /// A client of `host:port`, with or without `http://` before it.
    pub(super) fn new(server: &str) -> Self {
        Self { address: server.trim_start_matches("http://").trim_end_matches('/').to_owned(), stream: None }
    }

    pub(super) fn get(&mut self, path: &str) -> anyhow::Result<Reply> {
        self.send("GET", path, &[])
    }

    pub(super) fn post(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Reply> {
        self.send("POST", path, body)
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Reply> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: gangplank\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address)?,
        };
        let (reply, stream) = exchange(stream, &request).with_context(|| format!("{method} http://{}{path}", self.address))?;
        self.stream = stream;
        Ok(reply)
    }
}

fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let advice = |error: io::Error| {
        Advice::new(
            format!("no server answers on {address}: {error}"),
            "name it with --server; for one in a cluster, run `kubectl -n gangplank-system port-forward POD 10270` and add --server 127.0.0.1:10270",
        )
    };
    let resolved = address.to_socket_addrs().map_err(advice)?.next().context("the server's name has no address")?;
    let stream = TcpStream::connect_timeout(&resolved, TIMEOUT).map_err(advice)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// One request, one answer; the stream comes back if it may be used again.
fn exchange(mut stream: TcpStream, request: &[u8]) -> anyhow::Result<(Reply, Option<TcpStream>)> {
    stream.write_all(request)?;
    let mut bytes = Vec::with_capacity(4096);
    let mut chunk = [0_u8; 16 * 1024];
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > HEAD_BYTES_MAX {
            bail!("the answer's head is longer than {HEAD_BYTES_MAX} bytes");
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            bail!("the connection was closed before an answer");
        }
        bytes.extend_from_slice(&chunk[..read]);
    };
    let head = std::str::from_utf8(&bytes[..head_len]).context("the answer's head is not text")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).context("the answer has no Content-Length")?;
    if length > BODY_BYTES_MAX {
        bail!("the answer has {length} bytes, at most {BODY_BYTES_MAX} are read");
    }
    let keep = !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let mut body = bytes.split_off(head_len);
    while body.len() < length {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            bail!("the connection was closed within the answer");
        }
        body.extend_from_slice(&chunk[..read]);
    }
    body.truncate(length);
    Ok((Reply { status, body }, keep.then_some(stream)))
}

/// kube-scheduler waits 2 s in our configuration; people and busy machines get longer.
const TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const BODY_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each request on one connection with the next of these texts.
    fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0_u8; 4096];
            for answer in answers {
                assert!(stream.read(&mut buffer).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn one_connection_serves_several_requests() {
        let mut client = Client::new(&server(vec![
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ]));
        let first = client.get("/").unwrap();
        assert_eq!((first.status, first.body.as_slice()), (200, b"hi".as_slice()));
        assert_eq!(client.post("/x", b"{}").unwrap().status, 404);
    }

    #[test]
    fn an_answer_cut_short_is_an_error_and_not_half_a_body() {
        let error = Client::new(&server(vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"])).get("/").unwrap_err();
        assert!(format!("{error:#}").ends_with("the connection was closed within the answer"), "{error:#}");
    }

    #[test]
    fn nobody_there_is_told_with_what_to_do() {
        let error = Client::new("http://127.0.0.1:1/").get("/").unwrap_err();
        assert!(super::super::advice::render(&error).contains("\nhint: "), "{error:#}");
    }
}
