//! Where a fleet's link leads when its button is pressed.

use api::InvitationRequest;
use catena_client::InvitationSecret;
use fleet::FleetRef;
use store::{StoreError, StoredInvitation};

use crate::{
    InviteError, Inviter,
    inviter::{Turn, returning},
    step::{Press, Wish, press},
};

/// Where a fleet's link leads.
#[derive(Clone, PartialEq, Eq)]
pub enum Opened {
    /// To this magic link, which is Catena's and as it gave it. It opens the invitation: for the fleet's browser alone.
    Connect(String),
    /// Nowhere: the fleet's data flows.
    Connected,
}

/// Why a fleet's link doesn't lead on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was replaced or taken back, or its time is over.
    #[error("the link ended")]
    LinkEnded,
    /// Catena was asked because of this link a moment ago, and isn't again before this.
    #[error("Catena was asked for the fleet a moment ago")]
    TooSoon(fleet::Timestamp),
    /// Catena's answer had no link for the fleet's browser.
    #[error("Catena gave no magic link")]
    NoMagicLink,
    /// The fleet could not be invited.
    #[error(transparent)]
    Invite(#[from] InviteError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        InviteError::from(error).into()
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect(_) => "Connect(..)",
            Self::Connected => "Connected",
        })
    }
}

impl Inviter {
    /// Where a fleet's link leads, whose button was pressed. The invitation that the fleet has is used until an hour before its end.
    /// Else Catena is asked, at most every ten minutes for one fleet, and by one of several presses at once; the others wait.
    /// A fleet that declined is asked again: it pressed the button.
    pub async fn open(&self, fleet: &FleetRef, link: &str) -> Result<Opened, OpenError> {
        let mut turn = Turn::new();
        loop {
            let now = self.now();
            let (stored, kept) = self.table.invited(fleet).await?;
            if kept.open.live_link(now).is_none_or(|it| it.id != link) {
                return Err(OpenError::LinkEnded);
            }
            let stage = stored.record.standing(&self.settings.policy, now).stage;
            let facts = &stored.record.facts;
            match press(stage, facts, &kept, &self.settings.public_base_url, now) {
                Press::Nothing => return Ok(Opened::Connected),
                Press::Ended => return Err(OpenError::LinkEnded),
                Press::Lead => return magic_link(&kept),
                Press::TooSoon(again) => return Err(OpenError::TooSoon(again)),
                Press::Wait => {}
                Press::Ask { anew } => {
                    // What it was last invited with: no link is given out without that.
                    let asked = kept.open.asked.clone().ok_or(InviteError::NeverInvited)?;
                    let request: InvitationRequest = serde_json::from_value(asked.clone())
                        .map_err(|_unreadable| InviteError::NeverInvited)?;
                    let returning = returning(&kept.open, facts, now)?;
                    let new = self.new_invitation(fleet, &request, &returning).await?;
                    let wish = Wish {
                        asked: &asked,
                        returns_to: &self.settings.public_base_url,
                        reopen: true,
                        anew,
                        until: now.plus(crate::step::AN_HOUR),
                        opened: Some(now),
                        look_always: true,
                    };
                    let held = self.hold(fleet, kept, asked.clone(), Some(returning));
                    if let Some(held) = held.await? {
                        let done = self.ask(&held, &new, wish, true).await;
                        self.end(&held, done).await?;
                        // Catena answered just now: a decline of the same second, which may still count in the record, is older.
                        let (_, kept) = self.table.invited(fleet).await?;
                        return magic_link(&kept);
                    }
                }
            }
            turn.wait().await?;
        }
    }
}

fn magic_link(kept: &StoredInvitation) -> Result<Opened, OpenError> {
    let secret = kept.secret.as_ref();
    let secret = secret.and_then(|it| serde_json::from_str(it.open()).ok());
    let magic_link = secret.and_then(|it: InvitationSecret| it.magic_link);
    magic_link
        .map(Opened::Connect)
        .ok_or(OpenError::NoMagicLink)
}
