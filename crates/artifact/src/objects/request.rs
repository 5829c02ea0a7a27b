//! Requests that the client of the stores does not know, signed and sent with its means.

use bytes::Bytes;
use object_store::{
    HeaderMap, HeaderValue,
    aws::AwsAuthorizer,
    azure::AzureAuthorizer,
    client::{HttpError, HttpErrorKind, HttpRequest, HttpRequestBody},
};

use super::{
    Connected, ObjectError, ObjectUri,
    connect::Backend,
    error::{Said, classify, innermost, refused, unreached},
    patience::Waits,
};

/// What is asked of a store. Each try is signed anew.
#[derive(Debug)]
pub(super) struct Asking {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Asking {
    pub(super) fn new(method: &'static str, url: String) -> Self {
        Self { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    pub(super) fn with_some(self, header: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(header, value),
            None => self,
        }
    }

    pub(super) fn with_body(mut self, body: String) -> Self {
        self.body = body.into();
        self
    }

    fn request(&self) -> Result<HttpRequest, String> {
        let mut request = HttpRequest::new(HttpRequestBody::from(self.body.clone()));
        *request.method_mut() = self.method.parse().map_err(|_| "the method can't be sent".to_owned())?;
        *request.uri_mut() = self.url.parse().map_err(|_| format!("{:?} can't be sent", self.url))?;
        for (name, value) in &self.headers {
            let value =
                HeaderValue::from_str(value).map_err(|_| format!("{name}: {value:?} can't be sent"))?;
            request.headers_mut().insert(*name, value);
        }
        Ok(request)
    }
}

/// Whether requests can be sent to an address.
pub(super) fn can_be_asked(url: &str) -> bool {
    let mut request = HttpRequest::new(HttpRequestBody::from(Bytes::new()));
    url.parse().map(|url| *request.uri_mut() = url).is_ok()
}

/// Why a try was in vain.
enum Vain {
    Refused(Said),
    Unreached(HttpErrorKind, String),
}

impl Vain {
    fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Refused(said) => match said.status {
                // An error in the body of a success, which some of S3's answers hold.
                Some(200) => matches!(said.code.as_str(), "InternalError" | "SlowDown"),
                Some(status) => matches!(status, 408 | 429 | 500..=599),
                None => false,
            },
            Self::Unreached(kind, _) => !matches!(kind, HttpErrorKind::Decode),
        }
    }
}

impl From<HttpError> for Vain {
    fn from(error: HttpError) -> Self {
        Self::Unreached(error.kind(), innermost(&error))
    }
}

impl Connected {
    /// Asks, several times if it is worth it, and returns the body of the answer.
    pub(super) async fn ask(&self, uri: &ObjectUri, asking: &Asking) -> Result<String, ObjectError> {
        self.answer(uri, asking).await.map(|(_, body)| body)
    }

    /// The same, with the headers of the answer.
    pub(super) async fn answer(
        &self,
        uri: &ObjectUri,
        asking: &Asking,
    ) -> Result<(HeaderMap, String), ObjectError> {
        let mut waits = Waits::new();
        loop {
            let mut request =
                asking.request().map_err(|reason| ObjectError::Failed { uri: uri.clone(), reason })?;
            self.sign(&mut request).await.map_err(|error| classify(&self.target, uri, &error))?;
            let vain = match self.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(vain) => vain,
            };
            match waits.next().filter(|_| vain.is_worth_a_retry()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    return Err(match vain {
                        Vain::Refused(said) => refused(&self.target, uri, &said),
                        Vain::Unreached(kind, reason) => unreached(&self.target, kind, reason),
                    });
                }
            }
        }
    }

    async fn send(&self, request: HttpRequest) -> Result<(HeaderMap, String), Vain> {
        let (head, body) = self.http.execute(request).await?.into_parts();
        let body = String::from_utf8_lossy(&body.bytes().await?).into_owned();
        if head.status.is_success() && !body.contains("<Error>") {
            return Ok((head.headers, body));
        }
        Err(Vain::Refused(Said::in_body(head.status.as_u16(), &body)))
    }

    async fn sign(&self, request: &mut HttpRequest) -> Result<(), object_store::Error> {
        if self.target.anonymous {
            return Ok(());
        }
        match &self.backend {
            Backend::S3(store) => {
                let credential = store.credentials().get_credential().await?;
                AwsAuthorizer::new(&credential, "s3", &self.target.region).try_authorize(request, None)
            }
            Backend::Gs(store) => {
                let bearer = store.credentials().get_credential().await?.bearer.clone();
                if let Ok(value) = HeaderValue::from_str(&format!("Bearer {bearer}"))
                    && !bearer.is_empty()
                {
                    request.headers_mut().insert("authorization", value);
                }
                Ok(())
            }
            Backend::Az(store) => {
                let credential = store.credentials().get_credential().await?;
                AzureAuthorizer::new(&credential, &self.target.account).try_authorize(request)
            }
        }
    }
}
