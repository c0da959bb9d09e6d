//! How requests reach a provider.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use object_store::{
    ClientConfigKey, ClientOptions, Error, Result,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpService,
    },
    signer::Method,
};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::Verifier;

use crate::{
    StoreError,
    payloads::{failure::behind, refusal::Refusal},
};

/// How long a connection may take to come about, if a request may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of an answer that is an error.
const LONGEST_REFUSAL: usize = 16 * 1024;

/// The HTTP clients of an account: one that speaks only TLS, and one that also
/// speaks plainly, for `http://` endpoints and for the machine's own metadata
/// service. Each is made when first asked for. Clones share them.
#[derive(Clone)]
pub(super) struct Connector(Arc<Clients>);

struct Clients {
    connect_timeout: Duration,
    encrypted: Mutex<Option<HttpClient>>,
    plain: Mutex<Option<HttpClient>>,
}

impl Connector {
    pub(super) fn new(request_timeout: Duration) -> Self {
        Self(Arc::new(Clients {
            connect_timeout: CONNECT_TIMEOUT.min(request_timeout),
            encrypted: Mutex::default(),
            plain: Mutex::default(),
        }))
    }

    /// A connector to something else than a network.
    #[cfg(test)]
    pub(super) fn to(service: impl HttpService) -> Self {
        let client = HttpClient::new(Exchange(service));
        Self(Arc::new(Clients {
            connect_timeout: CONNECT_TIMEOUT,
            encrypted: Mutex::new(Some(client.clone())),
            plain: Mutex::new(Some(client)),
        }))
    }

    fn client(&self, plain: bool) -> Result<HttpClient> {
        let mut client = if plain {
            self.0.plain.lock()
        } else {
            self.0.encrypted.lock()
        };
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let made = HttpClient::new(Exchange(self.make(plain)?));
        Ok(client.insert(made).clone())
    }

    fn make(&self, plain: bool) -> Result<reqwest::Client> {
        reqwest::Client::builder()
            .user_agent(concat!("xronox/", env!("CARGO_PKG_VERSION")))
            // The gate limits how long requests take.
            .connect_timeout(self.0.connect_timeout)
            .http1_only()
            // What is signed for one host is worthless at another.
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!plain)
            .tls_backend_preconfigured(tls(plain)?)
            .build()
            .map_err(failed)
    }
}

/// TLS by *ring*, whatever else the process has installed. What speaks plainly
/// trusts nobody, so that it needs no root certificates.
fn tls(plain: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let mut config = if plain {
        config.with_root_certificates(RootCertStore::empty())
    } else {
        let verifier = Verifier::new(provider).map_err(failed)?;
        config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic {
        store: "HTTP",
        source: source.into(),
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        self.client(allowed.as_deref() == Some("true"))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A client whose errors say what the server said: the store's own keep of an
/// answer only its text.
#[derive(Debug)]
struct Exchange<S>(S);

#[async_trait]
impl<S: HttpService> HttpService for Exchange<S> {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.call(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(HttpError::new(
            HttpErrorKind::Unknown,
            refusal(response).await,
        ))
    }
}

async fn refusal(response: HttpResponse) -> Refusal {
    let (head, body) = response.into_parts();
    let mut text = Vec::new();
    let mut body = body.bytes_stream();
    // An answer that breaks off has said enough with its status.
    while let Some(Ok(bytes)) = body.next().await {
        let room = LONGEST_REFUSAL - text.len();
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if text.len() == LONGEST_REFUSAL {
            break;
        }
    }
    let in_header = head
        .headers
        .get("x-ms-error-code")
        .and_then(|code| code.to_str().ok());
    Refusal::read(
        head.status.as_u16(),
        in_header,
        &String::from_utf8_lossy(&text),
    )
}

/// A request of our own, to be signed.
pub(super) fn request(method: Method, url: &str, body: HttpRequestBody) -> Result<HttpRequest> {
    let mut request = HttpRequest::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(failed)?;
    Ok(request)
}

/// Sends a request of our own. A refusal that says it is `done` already is a
/// success.
pub(super) async fn send(
    client: &HttpClient,
    request: HttpRequest,
    done: impl Fn(&Refusal) -> bool + Send,
) -> Result<()> {
    match client.execute(request).await {
        Ok(_) => Ok(()),
        Err(error) if behind::<Refusal>(&error).is_some_and(done) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A client that cannot be had.
pub(super) fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable {
        message: "the client of the storage connection cannot be made".to_owned(),
        source: Some(error.into()),
    }
}
