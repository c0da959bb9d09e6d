//! Who writes, for whom and why.

use xronox_model::Identity;

use crate::Error;

/// The longest reason, in bytes.
const MAX_REASON: usize = 4096;

/// Who writes, for whom and why, as a builder gathers it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attribution {
    pub(crate) actor: Option<Identity>,
    pub(crate) on_behalf_of: Option<Identity>,
    pub(crate) reason: Option<String>,
}

/// Something that names an actor: text (see
/// [`Identity::from_actor`]) or an [`Identity`]; as an [`Option`], `None` is
/// nobody.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), xronox::Error> {
/// use serde_json::json;
/// use xronox::{Config, Identity, Xronox};
///
/// let orders = Xronox::open(Config::memory()).await?.collection("orders")?;
/// let bot = Identity::agent("buyer-v2")?.named("Buyer")?;
/// let made = orders
///     .create(json!({ "total": 10 }))
///     .actor(&bot)
///     .on_behalf_of("user:42 (Ann)")
///     .await?;
///
/// let history = orders.history(&made.id).await?;
/// assert_eq!(history[0].actor.as_ref(), Some(&bot));
/// let found = orders.query(json!({ "_system.creator.identifier": "buyer-v2" })).await?;
/// assert_eq!(found.items.len(), 1);
/// # Ok(())
/// # }
/// ```
pub trait IntoActor {
    /// The identity; `None` for nobody.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a part is empty,
    /// too long or holds control characters.
    fn into_actor(self) -> Result<Option<Identity>, Error>;
}

impl IntoActor for &str {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        Ok(Identity::from_actor(self)?)
    }
}

impl IntoActor for String {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        self.as_str().into_actor()
    }
}

impl IntoActor for &String {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        self.as_str().into_actor()
    }
}

impl IntoActor for Identity {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        Ok(Some(self.normalized()?))
    }
}

impl<T: IntoActor> IntoActor for Option<T> {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        self.map_or(Ok(None), IntoActor::into_actor)
    }
}

impl IntoActor for &Identity {
    fn into_actor(self) -> Result<Option<Identity>, Error> {
        self.clone().into_actor()
    }
}

impl Attribution {
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.reason {
            Some(reason) if reason.len() > MAX_REASON => Err(xronox_model::Invalid::at(
                "reason",
                format!("has at most {MAX_REASON} bytes"),
            )
            .into()),
            _ => Ok(()),
        }
    }
}

/// The setters that every write has.
macro_rules! attributed {
    ($builder:ident) => {
        impl $builder<'_> {
            /// Who does it: an [`Identity`](crate::Identity), `type:identifier`,
            /// or any other text, which names a user.
            pub fn actor(mut self, actor: impl crate::IntoActor) -> Self {
                match actor.into_actor() {
                    Ok(actor) => self.attribution.actor = actor,
                    Err(error) => self.broken = self.broken.or(Some(error)),
                }
                self
            }

            /// For whom it is done, if the actor acts for someone.
            pub fn on_behalf_of(mut self, who: impl crate::IntoActor) -> Self {
                match who.into_actor() {
                    Ok(who) => self.attribution.on_behalf_of = who,
                    Err(error) => self.broken = self.broken.or(Some(error)),
                }
                self
            }

            /// Why it is done: up to 4,096 bytes, kept with the version.
            pub fn reason(mut self, reason: impl Into<String>) -> Self {
                let reason = reason.into();
                self.attribution.reason = (!reason.is_empty()).then_some(reason);
                self
            }
        }
    };
}

pub(crate) use attributed;
