//! What a server says when it refuses a request.

use std::{error::Error, fmt};

use super::failure::behind;
use crate::StoreError;

/// What is wrong with a space until someone sees to it: an answer that
/// repeating the request cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpaceProblem {
    /// There is no such bucket.
    MissingBucket,
    /// The credentials are good and may not do this.
    Denied,
    /// The credentials are wrong or have expired.
    Credentials,
    /// This machine's clock is too far from the store's.
    ClockSkew,
    /// The bucket is in another region, or the request was signed for another.
    OtherRegion,
    /// The store's certificate is not one that this machine trusts.
    Certificate,
}

impl SpaceProblem {
    /// The problem behind a failed operation, if it is one of these.
    pub fn of(error: &StoreError) -> Option<Self> {
        Self::behind(error)
    }

    pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        match Refusal::behind(error) {
            Some(refusal) => refusal.problem(),
            None => is_untrusted(error).then_some(Self::Certificate),
        }
    }
}

/// Whether a connection ended at the store's certificate.
#[cfg(feature = "cloud")]
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let invalid = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
    if error.downcast_ref().is_some_and(invalid) {
        return true;
    }
    // What an I/O error was made of is not among its causes.
    let made_of = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match made_of {
        Some(inner) => is_untrusted(inner),
        None => error.source().is_some_and(is_untrusted),
    }
}

#[cfg(not(feature = "cloud"))]
fn is_untrusted(_: &(dyn Error + 'static)) -> bool {
    false
}

impl fmt::Display for SpaceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingBucket => "there is no such bucket",
            Self::Denied => "permission denied",
            Self::Credentials => "the credentials were refused",
            Self::ClockSkew => "this machine's clock is too far from the store's",
            Self::OtherRegion => "the bucket is in another region",
            Self::Certificate => "the store's certificate is not trusted",
        })
    }
}

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The provider's name for it: `NoSuchKey`, `SlowDown`.
    pub(super) code: Option<String>,
    /// What it says, cut short. Never the whole answer, which may repeat what
    /// was signed.
    pub(super) message: Option<String>,
}

/// The longest code and message that are kept of an answer.
#[cfg(feature = "cloud")]
const KEPT: (usize, usize) = (64, 300);

impl Refusal {
    /// What an answer says: S3 and Azure in XML, the token services of Google
    /// and Azure in JSON, Azure's code in a header too.
    #[cfg(feature = "cloud")]
    pub(super) fn read(status: u16, code: Option<&str>, body: &str) -> Self {
        let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        let code = code
            .or_else(|| element(body, "Code"))
            .or_else(|| json["error"].as_str());
        let message = element(body, "Message").or_else(|| json["error_description"].as_str());
        // Azure and Google report a wrong clock like wrong keys.
        let skewed = ["Request date header too old", "in a reasonable timeframe"];
        let code = if skewed.iter().any(|text| body.contains(text)) {
            Some("RequestTimeTooSkewed")
        } else {
            code
        };
        let kept = |text: &str, longest| {
            let text: String = text.lines().next().unwrap_or_default().trim().to_owned();
            let text: String = text
                .chars()
                .filter(|c| !c.is_control())
                .take(longest)
                .collect();
            (!text.is_empty()).then_some(text)
        };
        Self {
            status,
            code: code.and_then(|code| kept(code, KEPT.0)),
            message: message.and_then(|message| kept(message, KEPT.1)),
        }
    }

    /// The refusal at the root of an error.
    pub(super) fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        behind(error)
    }

    pub(super) fn problem(&self) -> Option<SpaceProblem> {
        use SpaceProblem as P;

        let by_code = match self.code.as_deref().unwrap_or_default() {
            "NoSuchBucket" | "ContainerNotFound" => Some(P::MissingBucket),
            "RequestTimeTooSkewed" => Some(P::ClockSkew),
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => {
                Some(P::OtherRegion)
            }
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "invalid_grant"
            | "invalid_client"
            | "unauthorized_client" => Some(P::Credentials),
            _ => None,
        };
        // Azure's emulator has the code of a denial for it.
        let unauthenticated = |text: &String| text.contains("failed to authenticate");
        if by_code.is_none() && self.message.as_ref().is_some_and(unauthenticated) {
            return Some(P::Credentials);
        }
        by_code.or(match self.status {
            301 | 307 | 308 => Some(P::OtherRegion),
            401 => Some(P::Credentials),
            403 => Some(P::Denied),
            _ => None,
        })
    }

    /// Whether it says that an object is not there.
    #[cfg(feature = "cloud")]
    pub(super) fn is_missing_object(&self) -> bool {
        self.status == 404 && self.problem().is_none()
    }

    /// Whether the same request may fare better in a moment.
    pub(super) fn is_passing(&self) -> bool {
        // S3's `RequestTimeout`, a body that came too slowly, is a 400.
        let slow = matches!(self.code.as_deref(), Some("RequestTimeout" | "SlowDown"));
        slow || matches!(self.status, 408 | 429 | 500 | 502 | 503 | 504)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl Error for Refusal {}

/// The text of the first element of this name in a flat XML document.
#[cfg(feature = "cloud")]
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(all(test, feature = "cloud"))]
mod tests {
    use super::*;
    use crate::payloads::failure::Failure;

    /// An S3 error document.
    fn s3(status: u16, code: &str) -> Refusal {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>What S3\nsays of it</Message><StringToSign>AWS4 secret</StringToSign>\
             <RequestId>4442587FB7D0A2F9</RequestId></Error>"
        );
        Refusal::read(status, None, &body)
    }

    #[test]
    fn answers_have_their_meaning() {
        use SpaceProblem as P;

        for (refusal, problem) in [
            (s3(404, "NoSuchBucket"), Some(P::MissingBucket)),
            (s3(403, "AccessDenied"), Some(P::Denied)),
            (s3(403, "InvalidAccessKeyId"), Some(P::Credentials)),
            (s3(403, "SignatureDoesNotMatch"), Some(P::Credentials)),
            (s3(400, "ExpiredToken"), Some(P::Credentials)),
            (s3(403, "RequestTimeTooSkewed"), Some(P::ClockSkew)),
            (s3(301, "PermanentRedirect"), Some(P::OtherRegion)),
            (
                s3(400, "AuthorizationHeaderMalformed"),
                Some(P::OtherRegion),
            ),
            (s3(404, "NoSuchKey"), None),
            (s3(503, "SlowDown"), None),
            (
                Refusal::read(404, Some("ContainerNotFound"), ""),
                Some(P::MissingBucket),
            ),
            (Refusal::read(404, Some("BlobNotFound"), ""), None),
            (
                Refusal::read(403, Some("AuthenticationFailed"), ""),
                Some(P::Credentials),
            ),
            (
                Refusal::read(
                    403,
                    Some("AuthenticationFailed"),
                    "<Error><Code>AuthenticationFailed</Code><AuthenticationErrorDetail>Request \
                     date header too old: 'Fri, 23 Nov 2026 08:00:00 GMT'\
                     </AuthenticationErrorDetail></Error>",
                ),
                Some(P::ClockSkew),
            ),
            (
                Refusal::read(403, Some("AuthorizationPermissionMismatch"), ""),
                Some(P::Denied),
            ),
            (
                Refusal::read(
                    400,
                    None,
                    r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a
                    short-lived token (60 minutes) and in a reasonable timeframe."}"#,
                ),
                Some(P::ClockSkew),
            ),
            (
                Refusal::read(400, None, r#"{"error":"invalid_grant"}"#),
                Some(P::Credentials),
            ),
            (
                Refusal::read(401, None, "no document at all"),
                Some(P::Credentials),
            ),
        ] {
            assert_eq!(refusal.problem(), problem, "{refusal:?}");
            let missing = refusal.status == 404 && problem.is_none();
            assert_eq!(refusal.is_missing_object(), missing, "{refusal:?}");
        }
    }

    #[test]
    fn only_what_can_pass_is_repeated() {
        for passing in [
            s3(500, "InternalError"),
            s3(502, ""),
            s3(503, "SlowDown"),
            s3(504, ""),
            s3(408, ""),
            s3(429, "TooManyRequests"),
            s3(400, "RequestTimeout"),
            Refusal::read(503, Some("ServerBusy"), ""),
        ] {
            assert!(passing.is_passing(), "{passing:?}");
        }
        for lasting in [
            s3(400, "InvalidArgument"),
            s3(401, ""),
            s3(403, "AccessDenied"),
            s3(403, "RequestTimeTooSkewed"),
            s3(404, "NoSuchKey"),
            s3(409, "OperationAborted"),
            s3(412, "PreconditionFailed"),
            s3(501, "NotImplemented"),
        ] {
            assert!(!lasting.is_passing(), "{lasting:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_no_passing_fault() {
        use std::io;

        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let handshake = io::Error::new(io::ErrorKind::InvalidData, unknown);
        let failure = Failure::Store(object_store::Error::Generic {
            store: "test",
            source: Box::new(io::Error::other(handshake)),
        });
        assert!(!failure.is_passing());
        let error = failure.into_error("use", &"it");
        assert_eq!(SpaceProblem::of(&error), Some(SpaceProblem::Certificate));
        assert!(error.to_string().ends_with("is not trusted"), "{error}");
    }

    #[test]
    fn answers_are_cut_short() {
        let said = s3(403, "AccessDenied").to_string();
        assert_eq!(said, "the server answered 403 AccessDenied: What S3");
        let long = format!("<Message>{}</Message>", "x".repeat(10_000));
        assert!(Refusal::read(500, None, &long).to_string().len() < 400);
    }
}
