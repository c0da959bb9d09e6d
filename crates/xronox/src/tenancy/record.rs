//! What the directory holds of a tenant as a whole.

use serde::{Deserialize, Serialize};
use xronox_model::Timestamp;

use super::{
    address::{Address, Owner},
    context::Context,
};
use crate::{Error, ErrorKind};

/// A tenant that was created, suspended, moved or dropped by name; one that was
/// only ever used has none. Its databases have entries of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) tenant_id: String,
    pub(super) state: State,
    /// What it was created with, for contexts that do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plan: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) meta: Vec<(String, String)>,
    pub(super) since: Timestamp,
    /// Grows with every change, so that of two that are made at a time one fails.
    pub(super) rev: u64,
}

/// Where a tenant is in its life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub(super) enum State {
    Active,
    Suspended,
    Moving(Moving),
    Dropping { belongings: Vec<Belonging> },
}

/// A move that has begun.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Moving {
    /// The connection it goes to.
    pub(super) to: String,
    pub(super) phase: Phase,
    /// Whether the tenant is suspended before and after it.
    pub(super) suspended: bool,
    pub(super) databases: Vec<Relocation>,
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Phase {
    /// The tenant is at the old place.
    Copying,
    /// It is at the new one.
    Switched,
    /// It stays at the old one.
    Cancelled,
}

/// The way of one database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Relocation {
    pub(super) from: Belonging,
    pub(super) to: Address,
}

/// A database of a tenant, with what is elsewhere on its account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Belonging {
    pub(super) owner: Owner,
    pub(super) address: Address,
    /// In front of the keys of its bodies, once the database was seen to be
    /// its owner's. Without one it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
}

impl Record {
    pub(super) fn new(tenant_id: &str, state: State, since: Timestamp) -> Self {
        Self {
            tenant_id: tenant_id.to_owned(),
            state,
            plan: None,
            meta: Vec::new(),
            since,
            rev: 0,
        }
    }

    /// A context with what the tenant was created with, where it says nothing
    /// itself.
    pub(super) fn complete(&self, context: &Context) -> Context {
        let mut context = context.clone();
        context.plan = context.plan.or_else(|| self.plan.clone());
        for (key, value) in &self.meta {
            let known = context.meta.entry(key.clone());
            known.or_insert_with(|| value.clone());
        }
        context
    }

    /// Refuses to let anybody in who has no business there now.
    pub(super) fn admit(&self) -> Result<(), Error> {
        let id = &self.tenant_id;
        let (kind, message) = match &self.state {
            State::Suspended => (ErrorKind::Forbidden, "is suspended"),
            State::Moving(moving) if moving.suspended => (ErrorKind::Forbidden, "is suspended"),
            State::Dropping { .. } => (ErrorKind::Unavailable, "is being dropped"),
            State::Active | State::Moving(_) => return Ok(()),
        };
        Err(Error::new(kind, format!("tenant {id:?} {message}")))
    }

    /// The move under way.
    pub(super) fn moving(&self) -> Option<&Moving> {
        match &self.state {
            State::Moving(moving) => Some(moving),
            _ => None,
        }
    }
}

impl Moving {
    /// Where a database is now, if the move has brought it there.
    pub(super) fn place_of(&self, owner: &Owner) -> Option<&Address> {
        let all = self.databases.iter();
        let mut switched = all.filter(|_| self.phase == Phase::Switched);
        let found = switched.find(|relocation| relocation.from.owner == *owner);
        found.map(|relocation| &relocation.to)
    }

    /// What the tenant is again when it is over.
    pub(super) fn afterwards(&self) -> State {
        if self.suspended {
            State::Suspended
        } else {
            State::Active
        }
    }
}
