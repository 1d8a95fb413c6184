//! The proxy that stands before a server without TLS, run as nginx with the file that is rendered: requests go through, a renewed
//! certificate is used by the next connection, and gRPC is passed on as HTTP/2 without TLS.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// `$GANGPLANK_NGINX`, or nginx on the path; loudly none.
fn nginx() -> Option<PathBuf> {
    let given = std::env::var_os("GANGPLANK_NGINX").map(PathBuf::from);
    let found = given.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|folder| folder.join("nginx")).find(|file| file.is_file())
    });
    if found.is_none() {
        let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: there is no nginx (GANGPLANK_NGINX); the TLS proxy was not run ====\n");
    }
    found
}

const TIMEOUT: Duration = Duration::from_secs(20);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Asked, it takes its workers along.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn free() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// The next connection, if one comes in time.
fn accepted(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < TIMEOUT {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            return stream;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody connects to {listener:?}");
}

/// A certificate of its own for `bert`, where the proxy looks for it.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["bert".to_owned()]).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

fn connect(port: u16, trusted: &CertificateDer<'static>, protocol: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("bert").unwrap()).unwrap();
    let begun = Instant::now();
    let stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < TIMEOUT, "nginx does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    StreamOwned::new(connection, stream)
}

/// A request to the proxy, and what comes back of the server behind it.
fn asked(port: u16, trusted: &CertificateDer<'static>) -> String {
    let mut stream = connect(port, trusted, b"http/1.1");
    stream.write_all(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: bert\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn the_proxy_passes_requests_on_and_uses_what_is_renewed() {
    let Some(nginx) = nginx() else { return };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (rest, grpc) = (free(), free());
    let (https, https_grpc) = (free(), free());
    let number = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let spec = "apiVersion: gangplank.dev/v1alpha1\nkind: ModelServer\nmetadata: {name: bert}\n\
                spec: {runtime: tensorflow-serving, model: m, tls: {secret: s}}";
    let objects = gangplank::recipe::read(spec).unwrap()[0].render(None).unwrap().objects;
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let proxy = &deployment["spec"]["template"]["spec"]["initContainers"][0];
    // The places of the pod become places of this test, and nothing else of the file is changed.
    let mut text = config["data"]["nginx.conf"].as_str().unwrap().to_owned();
    for (is, here) in [
        ("/tmp/", format!("{}/", folder.display())),
        ("/etc/gangplank/tls", folder.display().to_string()),
        ("listen 8443", format!("listen {}", number(&https))),
        ("listen 8444", format!("listen {}", number(&https_grpc))),
        ("127.0.0.1:8501", format!("127.0.0.1:{}", number(&rest))),
        ("127.0.0.1:8500", format!("127.0.0.1:{}", number(&grpc))),
    ] {
        assert!(text.contains(is), "{is} in {text}");
        text = text.replace(is, &here);
    }
    let path = folder.join("nginx.conf");
    fs::write(&path, text).unwrap();
    let first = certificate(&folder);
    let ports = (number(&https), number(&https_grpc));
    drop((https, https_grpc));
    let words: Vec<&str> = proxy["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((words[0], words[words.len() - 1]), ("nginx", "/etc/gangplank/proxy/nginx.conf"));
    let mut command = Command::new(nginx);
    command.args(&words[1..words.len() - 1]).arg(&path).stdout(Stdio::null());
    let running = Running(command.spawn().unwrap());

    let server = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, mut got) = (accepted(&rest), Vec::new());
            let mut buffer = [0; 1024];
            while !got.ends_with(b"{}") {
                let count = stream.read(&mut buffer).unwrap();
                assert!(count > 0, "{}", String::from_utf8_lossy(&got));
                got.extend_from_slice(&buffer[..count]);
            }
            let head = String::from_utf8(got).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("post /v1/models/m:predict http/1.1") && head.contains("x-forwarded-proto: https"), "{head}");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfour").unwrap();
        }
    });
    assert!(asked(ports.0, &first).ends_with("four"));
    let second = certificate(&folder);
    assert!(asked(ports.0, &second).ends_with("four"), "the renewed certificate is shown without a restart");
    server.join().unwrap();

    let mut stream = connect(ports.1, &second, b"h2");
    // POST, https, and `:path`, `:authority` and `content-type` by the indexes of their names.
    let mut block = vec![0x83, 0x87];
    for (name, value) in [(0x44, "/p.S/M"), (0x41, "bert"), (0x5f, "application/grpc")] {
        block.extend_from_slice(&[name, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    frames.extend_from_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    frames.extend_from_slice(&block);
    stream.write_all(&frames).unwrap();
    stream.flush().unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    let mut upstream = accepted(&grpc);
    let mut preface = [0; 24];
    upstream.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop(running);
    fs::remove_dir_all(&folder).unwrap();
}
