//! What a store says when it refuses a request: status, code and message.

/// What a store says when it refuses a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorReply {
    pub(super) status: Option<u16>,
    /// The store's own name for the error, like `NoSuchKey`; empty if it gave none.
    pub(super) code: String,
    pub(super) message: String,
}

impl ErrorReply {
    /// Reads the status, and code and message in the XML of the body, from an error text of the stores' client.
    pub(super) fn in_text(text: &str) -> Self {
        const STATUS: &str = "status code: ";
        let status = text.find(STATUS).and_then(|at| text.get(at + STATUS.len()..)?.get(..3)?.parse().ok());
        // The text for a redirect without a target has no status.
        let redirected = text.contains("redirect without LOCATION").then_some(301);
        Self { status: status.or(redirected), ..Self::in_body(0, text) }
    }

    /// Reads code and message from the body of an answer. Google's has only a message, in JSON.
    pub(super) fn in_body(status: u16, text: &str) -> Self {
        let part = |name| element(text, name).map(unescape).unwrap_or_default();
        let google = || {
            serde_json::from_str::<serde_json::Value>(text).ok()?["error"]["message"]
                .as_str()
                .map(str::to_owned)
        };
        let message = Some(part("Message")).filter(|message| !message.is_empty()).or_else(google);
        Self { status: Some(status), code: part("Code"), message: message.unwrap_or_default() }
    }

    /// Returns the reason for a person, in one line.
    pub(super) fn reason(&self) -> String {
        let message = self.message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
        match (self.status, self.code.as_str(), message) {
            (None, "", "") => "it gave no reason".to_owned(),
            (Some(status), "", "") => format!("it answered {status}"),
            (_, code, "") => code.to_owned(),
            (_, "", message) => message.to_owned(),
            (_, code, message) => format!("{message} ({code})"),
        }
    }
}

/// Returns the text between the first `<name>` and `</name>`. The error bodies of stores do not nest these elements.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// Replaces the five entities of XML.
fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_texts_of_the_stores_client_are_parsed() {
        let text = "Generic S3 error: Error performing PUT http://h/b/k in 1s, after 2 retries, max_retries: 7, \
                    retry_timeout: 120s  - Server returned non-2xx status code: 400 Bad Request: \
                    <Error><Code>Odd</Code><Message>status code: 503</Message></Error>";
        let reply =
            ErrorReply { status: Some(400), code: "Odd".to_owned(), message: "status code: 503".to_owned() };
        assert_eq!(ErrorReply::in_text(text), reply);
        assert_eq!(ErrorReply::in_text("nothing of the kind").status, None);
        let redirect = "Received redirect without LOCATION, this normally indicates …";
        assert_eq!(ErrorReply::in_text(redirect).status, Some(301));
    }
}
