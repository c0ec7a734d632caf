//! TLS to a server whose authority only the given file names.
//!
//! Certificates and key in `tests/data/tls` are for these tests alone: the
//! authority's own key was thrown away.

use super::super::load;
use super::super::plan::Plan;
use super::super::plan::tests::{ask, pace};
use super::*;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::CancellationToken;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tls")
        .join(name)
}

/// Answers everything with nothing, over TLS.
async fn server() -> u16 {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificates = CertificateDer::pem_file_iter(data("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(data("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us goes away here.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    // Head and body may come apart; a request here ends in `}`.
                    let whole = buffer[..read].ends_with(b"}");
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if whole && stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn certificate_must_be_of_an_authority_that_is_trusted() {
    let target = format!("https://localhost:{}", server().await);
    let plan = Plan::new(target.parse().unwrap(), &ask(), pace()).unwrap();
    let run = async |ca: Option<PathBuf>| {
        let dialer = Dialer::new(&plan.target, ca.as_deref()).unwrap();
        load::run(plan.clone(), dialer, CancellationToken::new(), |_| ()).await
    };
    let ran = run(Some(data("ca.pem"))).await.unwrap();
    assert_eq!((ran.tally.sent, ran.tally.errors()), (100, 0));
    let refused = run(None).await.unwrap_err().to_string();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn certificate_of_another_name_is_refused() {
    let target = format!("https://127.0.0.1:{}", server().await);
    let plan = Plan::new(target.parse().unwrap(), &ask(), pace()).unwrap();
    let dialer = Dialer::new(&plan.target, Some(&data("ca.pem"))).unwrap();
    let ran = load::run(plan, dialer, CancellationToken::new(), |_| ()).await;
    let refused = ran.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[test]
fn file_without_certificates_is_refused_before_anything_is_sent() {
    let target: Target = "https://localhost".parse().unwrap();
    let failure = Dialer::new(&target, Some(&data("server.key")))
        .err()
        .unwrap();
    assert!(
        failure.to_string().contains("no certificates in"),
        "{failure}"
    );
}
