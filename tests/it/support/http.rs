//! A bare HTTP/1.1 client: kube-scheduler's bytes on the wire, and what no client library would send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const REPLY_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that is kept between calls.
#[derive(Debug)]
pub struct HttpClient {
    socket: TcpStream,
    unread: Vec<u8>,
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The head, lower case.
    pub head: String,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl HttpClient {
    /// Opens a connection.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let socket = timeout(REPLY_TIMEOUT, TcpStream::connect(address)).await??;
        socket.set_nodelay(true)?;
        Ok(Self { socket, unread: Vec::new() })
    }

    /// A verb call as kube-scheduler makes it.
    pub async fn post(&mut self, path: &str, body: &[u8]) -> Result<Reply> {
        self.call("POST", path, "Content-Type: application/json\r\n", body).await
    }

    /// A read.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        self.call("GET", path, "", b"").await
    }

    /// Any request with a Content-Length.
    pub async fn call(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Reply> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send(head.as_bytes()).await?;
        self.send(body).await?;
        self.reply().await
    }

    /// Any bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(timeout(REPLY_TIMEOUT, self.socket.write_all(bytes)).await??)
    }

    /// Reads one reply; one without a Content-Length is an error, as it costs kube-scheduler the connection.
    pub async fn reply(&mut self) -> Result<Reply> {
        let head_len = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.read_more().await?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_len]).to_lowercase();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no Content-Length")?;
        let length: usize = length.trim().parse()?;
        while self.unread.len() < head_len + length {
            self.read_more().await?;
        }
        let body = self.unread[head_len..head_len + length].to_vec();
        self.unread.drain(..head_len + length);
        Ok(Reply { status, head, body })
    }

    /// Waits until the other side closes, at most so long; returns whether it did.
    pub async fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut rest = [0; 1024];
        let closed = async {
            loop {
                match self.socket.read(&mut rest).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        timeout(limit, closed).await.is_ok()
    }

    async fn read_more(&mut self) -> Result<()> {
        let mut chunk = vec![0; 16 * 1024];
        match timeout(REPLY_TIMEOUT, self.socket.read(&mut chunk)).await.context("no reply in time")?? {
            0 => bail!("closed before the reply was whole"),
            count => {
                self.unread.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}
