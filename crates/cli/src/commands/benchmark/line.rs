//! Connections to the target, plain or TLS.

use super::plan::Target;
use crate::exit::{Failure, with_causes};
use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

/// A client that waits longer for a connection has given up.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Opens lines to one target.
#[derive(Clone)]
pub struct Dialer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// `ca`: certificates to trust beside those of this machine.
    pub fn new(target: &Target, ca: Option<&Path>) -> Result<Dialer, Failure> {
        let tls = match target.secure {
            true => {
                let name = ServerName::try_from(target.host.clone());
                let name = name.map_err(|e| Failure::new(format!("`{}`: {e}", target.host)))?;
                Some((connector(ca)?, name))
            }
            false => None,
        };
        Ok(Dialer {
            host: target.host.clone(),
            port: target.port,
            tls,
        })
    }

    /// A new connection; nothing of HTTP was sent on it.
    pub async fn dial(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        match tokio::time::timeout(CONNECT_WITHIN, self.connect()).await {
            Ok(line) => line,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        // Looked up each time: a failover by DNS is followed.
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => speak(connector.connect(name.clone(), stream).await?).await,
            None => speak(stream).await,
        }
    }
}

async fn speak<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // How it ends is told to whoever waits for an answer on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(send)
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, Failure> {
    let mut extra = Vec::new();
    if let Some(path) = ca {
        let unreadable = |why: String| {
            Failure::new(format!("no certificates in `{}`: {why}", path.display()))
                .help("--ca-file takes certificates in PEM")
        };
        for certificate in
            CertificateDer::pem_file_iter(path).map_err(|e| unreadable(e.to_string()))?
        {
            extra.push(certificate.map_err(|e| unreadable(e.to_string()))?);
        }
        if extra.is_empty() {
            return Err(unreadable("the file has none".to_owned()));
        }
    }
    let cannot = |e: &dyn std::error::Error| Failure::new(format!("no TLS: {}", with_causes(e)));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
            .map_err(|e| cannot(&e))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| cannot(&e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
