//! Who may call an endpoint: everyone, any valid key, or keys with one of some scopes.
//!
//! It is checked before a request is read. What depends on the request, such as the status of a promotion or the model, the
//! operation checks in its transaction.

use actix_web::http::Method;

use crate::domain::{Principal, Refusal, ScopeKind};

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone, without a key.
    Public,
    /// Everyone with a valid key.
    AnyKey,
    /// Callers with a scope of one of these kinds.
    OneOf(&'static [ScopeKind]),
}

/// The access that these words name: `Public`, `AnyKey`, or kinds of scopes as in `Register | Evaluate`.
macro_rules! access {
    (Public) => {
        $crate::http::access::Access::Public
    };
    (AnyKey) => {
        $crate::http::access::Access::AnyKey
    };
    ($($kind:ident)|+) => {
        $crate::http::access::Access::OneOf(&[$($crate::domain::ScopeKind::$kind),+])
    };
}
pub(super) use access;

impl Access {
    /// Checks that a caller with a valid key may call.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] names the scopes of which one is needed.
    pub(super) fn check(self, principal: &Principal) -> Result<(), Refusal> {
        match self {
            Self::Public | Self::AnyKey => Ok(()),
            Self::OneOf(kinds) => principal.require_kind(kinds),
        }
    }

    /// Returns the forms of the scopes of which one is needed.
    pub(super) fn scopes(self) -> Vec<&'static str> {
        match self {
            Self::Public | Self::AnyKey => Vec::new(),
            Self::OneOf(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
        }
    }
}

/// Who may call the methods of a path. A resource of the router has it.
#[derive(Debug, Clone)]
pub(super) struct Accesses(pub(super) Vec<(Method, Access)>);

impl Accesses {
    /// Returns who may call a method. HEAD is as GET. A method that is not listed is for administrators, so that a handler that was
    /// forgotten is not open to all keys.
    pub(super) fn of(&self, method: &Method) -> Access {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let found = self.0.iter().find(|(listed, _)| listed == method);
        found.map_or(Self::UNLISTED, |(_, access)| *access)
    }

    /// Who may call what is not listed.
    pub(super) const UNLISTED: Access = Access::OneOf(&[ScopeKind::Admin]);
}

/// A method of a path, and who may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteAccess {
    /// As in requests.
    pub method: String,
    /// With parameters as in `/models/{model_id}`.
    pub path: String,
    /// The scopes of which one is needed; none if every key will do.
    pub scopes: Vec<&'static str>,
    /// True if no key is needed.
    pub is_public: bool,
}

impl RouteAccess {
    pub(super) fn of(method: &Method, path: &str, access: Access) -> Self {
        Self {
            method: method.to_string(),
            path: path.to_owned(),
            scopes: access.scopes(),
            is_public: access == Access::Public,
        }
    }
}
