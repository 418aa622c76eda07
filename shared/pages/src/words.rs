//! What pages say, in three languages side by side. Each text is true of its state and says no more than is known.

use crate::{Lang, State};

/// One text in the page's language. The languages stand next to each other, so that none is forgotten when one changes, and what
/// they name is checked by the compiler.
macro_rules! say {
    ($lang:expr, $en:literal, $es:literal, $fr:literal $(,)?) => {
        match $lang {
            Lang::En => format!($en),
            Lang::Es => format!($es),
            Lang::Fr => format!($fr),
        }
    };
}

/// What a page tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    /// The state in two or three words, for the tab.
    pub(crate) title: String,
    pub(crate) heading: String,
    pub(crate) sentences: Vec<String>,
}

/// What a button or a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Connect,
    Continue,
    TryAgain,
    ConnectAgain,
    StartAgain,
    Renew,
    OpenConnect,
    Another,
}

/// A text that needs no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    /// The name of the language switch.
    Language,
    /// A link to the same page.
    CheckAgain,
    /// A link from an error to the invitation's page.
    BackToInvitation,
    /// The summary of a folded list.
    WhatIsShared,
    /// What a page that waits says when it stopped asking.
    Late,
    /// The same of a page that expects no news, but would like some.
    NoNews,
    /// Below the button of an invitation.
    NothingYet,
    /// Below the button of who may have left Connect halfway.
    Unfinished,
    /// Before whom to ask.
    Questions,
}

/// The words of one page: its language, and the partner's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) lang: Lang,
    pub(crate) partner: &'a str,
}

impl Words<'_> {
    pub(crate) fn state(self, state: &State, fleet: Option<&str>) -> Telling {
        match state {
            State::Invited => self.invited(fleet),
            State::Started => self.started(),
            State::Connecting => self.connecting(),
            State::Connected { requested } => self.connected(fleet, named(requested)),
            State::Requested { provider: None, .. } => self.request_unconfirmed(),
            State::Requested { provider, .. } => self.requested(named(provider)),
            State::ProviderLive { provider, .. } => self.provider_live(named(provider)),
            State::Broken => self.broken(),
            State::Paused => self.paused(),
            State::Ended => self.ended(),
            State::Declined => self.declined(),
            State::Expired => self.expired(),
            State::Withdrawn => self.withdrawn(),
            State::Failed => self.failed(),
        }
    }

    fn invited(self, fleet: Option<&str>) -> Telling {
        let Self { lang, partner } = self;
        let heading = match fleet {
            Some(fleet) => say!(
                lang,
                "{partner} invites {fleet} to share data",
                "{partner} invita a {fleet} a compartir datos",
                "{partner} invite {fleet} à partager des données",
            ),
            None => say!(
                lang,
                "{partner} invites you to share data",
                "{partner} le invita a compartir datos",
                "{partner} vous invite à partager des données",
            ),
        };
        Telling {
            title: say!(lang, "Invitation", "Su invitación", "Votre invitation"),
            heading,
            sentences: vec![say!(
                lang,
                "Your data is shared through Catena, which connects your telematics provider with {partner}. \
                 You choose your provider there.",
                "Sus datos se comparten a través de Catena, que conecta su proveedor de telemática con {partner}. \
                 Allí elige usted su proveedor.",
                "Vos données sont partagées par l’intermédiaire de Catena, qui relie votre fournisseur télématique à {partner}. \
                 C’est là que vous choisissez votre fournisseur.",
            )],
        }
    }

    fn started(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Not connected yet",
                "Aún sin conectar",
                "Pas encore connectée"
            ),
            heading: say!(
                lang,
                "One step left: connect your provider",
                "Falta un paso: conecte su proveedor",
                "Plus qu’une étape\u{a0}: connectez votre fournisseur",
            ),
            sentences: vec![say!(
                lang,
                "You accepted {partner}’s invitation, but no telematics provider is connected yet. You can go on where you left off.",
                "Usted aceptó la invitación de {partner}, pero todavía no hay ningún proveedor de telemática conectado. \
                 Puede continuar donde lo dejó.",
                "Vous avez accepté l’invitation de {partner}, mais aucun fournisseur télématique n’est encore connecté. \
                 Vous pouvez reprendre là où vous en étiez.",
            )],
        }
    }

    fn connecting(self) -> Telling {
        let Self { lang, .. } = self;
        Telling {
            title: say!(
                lang,
                "Waiting for confirmation",
                "Esperando confirmación",
                "En attente de confirmation",
            ),
            heading: say!(
                lang,
                "We’re waiting for confirmation",
                "Estamos esperando la confirmación",
                "Nous attendons la confirmation",
            ),
            sentences: vec![say!(
                lang,
                "Once Catena confirms what you did there, the result is shown here.",
                "Cuando Catena nos confirme lo que usted hizo allí, el resultado se mostrará aquí.",
                "Quand Catena aura confirmé ce que vous y avez fait, le résultat sera affiché ici.",
            )],
        }
    }

    fn connected(self, fleet: Option<&str>, requested: Option<&str>) -> Telling {
        let Self { lang, partner } = self;
        let heading = match fleet {
            Some(fleet) => say!(
                lang,
                "{fleet} is connected",
                "La flota {fleet} está conectada",
                "La flotte {fleet} est connectée",
            ),
            None => say!(
                lang,
                "Your fleet is connected",
                "Su flota está conectada",
                "Votre flotte est connectée",
            ),
        };
        let mut sentences = vec![say!(
            lang,
            "You share data with {partner} through Catena. You don’t need to do anything else.",
            "Usted comparte datos con {partner} a través de Catena. No tiene que hacer nada más.",
            "Vous partagez des données avec {partner} par l’intermédiaire de Catena. Vous n’avez plus rien à faire.",
        )];
        sentences.extend(requested.map(|provider| {
            say!(
                lang,
                "You also asked for {provider}, which isn’t supported yet. There is nothing to do about it now.",
                "También solicitó {provider}, que todavía no es compatible. Por ahora no tiene que hacer nada al respecto.",
                "Vous avez aussi demandé {provider}, qui n’est pas encore pris en charge. Vous n’avez rien à faire pour le moment.",
            )
        }));
        Telling {
            title: say!(lang, "Connected", "Conectada", "Connectée"),
            heading,
            sentences,
        }
    }

    fn request_unconfirmed(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Request not confirmed yet",
                "Solicitud aún sin confirmar",
                "Demande pas encore confirmée",
            ),
            heading: say!(
                lang,
                "Catena hasn’t confirmed your request yet",
                "Catena todavía no ha confirmado su solicitud",
                "Catena n’a pas encore confirmé votre demande",
            ),
            sentences: vec![say!(
                lang,
                "When you came back from Catena, we were told that you asked for your provider to be supported. If Catena confirms that and \
                 supports it one day, {partner} can invite you again.",
                "Cuando volvió de Catena, se nos indicó que usted solicitó la compatibilidad con su proveedor. Si Catena lo confirma y llega \
                 a ser compatible, {partner} podrá invitarle de nuevo.",
                "À votre retour de Catena, il nous a été indiqué que vous avez demandé la prise en charge de votre fournisseur. Si Catena le \
                 confirme et le prend en charge un jour, {partner} pourra vous inviter de nouveau.",
            )],
        }
    }

    fn requested(self, provider: Option<&str>) -> Telling {
        let Self { lang, partner } = self;
        let heading = match provider {
            Some(provider) => say!(
                lang,
                "You asked for {provider}",
                "Usted solicitó {provider}",
                "Vous avez demandé {provider}",
            ),
            None => say!(
                lang,
                "You asked for your provider",
                "Usted solicitó su proveedor",
                "Vous avez demandé votre fournisseur",
            ),
        };
        Telling {
            title: say!(
                lang,
                "Provider requested",
                "Proveedor solicitado",
                "Fournisseur demandé",
            ),
            heading,
            sentences: vec![say!(
                lang,
                "Catena doesn’t support this provider yet, and has your request. Once it is supported, {partner} can invite you again to \
                 connect it. There is nothing to do now.",
                "Este proveedor todavía no es compatible con Catena, que ya tiene su solicitud. Cuando lo sea, {partner} podrá invitarle de \
                 nuevo a conectarlo. Por ahora no tiene que hacer nada.",
                "Catena ne prend pas encore en charge ce fournisseur, et a reçu votre demande. Dès qu’il le sera, {partner} pourra vous inviter \
                 de nouveau à le connecter. Vous n’avez rien à faire pour le moment.",
            )],
        }
    }

    fn provider_live(self, provider: Option<&str>) -> Telling {
        let Self { lang, partner } = self;
        let heading = match provider {
            Some(provider) => say!(
                lang,
                "{provider} is supported now",
                "{provider} ya es compatible",
                "{provider} est maintenant pris en charge",
            ),
            None => say!(
                lang,
                "Your provider is supported now",
                "Su proveedor ya es compatible",
                "Votre fournisseur est maintenant pris en charge",
            ),
        };
        Telling {
            title: say!(
                lang,
                "Ready to connect",
                "Listo para conectar",
                "Prêt à être connecté",
            ),
            heading,
            sentences: vec![say!(
                lang,
                "You asked for it, and now it can be connected. Connect it to share your data with {partner}.",
                "Usted lo solicitó y ahora se puede conectar. Conéctelo para compartir sus datos con {partner}.",
                "Vous l’aviez demandé, et il peut maintenant être connecté. Connectez-le pour partager vos données avec {partner}.",
            )],
        }
    }

    fn broken(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Connection interrupted",
                "Conexión interrumpida",
                "Connexion interrompue",
            ),
            heading: say!(
                lang,
                "Your connection stopped working",
                "Su conexión dejó de funcionar",
                "Votre connexion ne fonctionne plus",
            ),
            sentences: vec![say!(
                lang,
                "Catena doesn’t get your data from your provider any more, for example because a password was changed. Connect again, so \
                 that {partner} gets it.",
                "Catena ya no recibe sus datos de su proveedor, por ejemplo porque se cambió una contraseña. Conéctese de nuevo para que \
                 {partner} los reciba.",
                "Catena ne reçoit plus vos données de votre fournisseur, par exemple parce qu’un mot de passe a changé. Rétablissez la \
                 connexion pour que {partner} les reçoive.",
            )],
        }
    }

    fn paused(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Not sharing now",
                "Sin compartir por ahora",
                "Pas de partage actuellement",
            ),
            heading: say!(
                lang,
                "Your data isn’t being shared right now",
                "Sus datos no se comparten en este momento",
                "Vos données ne sont pas partagées en ce moment",
            ),
            sentences: vec![say!(
                lang,
                "Sharing with {partner} isn’t active, for example because it is paused or hasn’t begun. You can look at it in Catena, or ask \
                 {partner}.",
                "El intercambio de datos con {partner} no está activo, por ejemplo porque está en pausa o no ha comenzado. Puede verlo en \
                 Catena o preguntar a {partner}.",
                "Le partage avec {partner} n’est pas actif, par exemple parce qu’il est suspendu ou n’a pas commencé. Vous pouvez le vérifier \
                 dans Catena ou vous adresser à {partner}.",
            )],
        }
    }

    fn ended(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Sharing has ended",
                "Ya no se comparten datos",
                "Partage terminé",
            ),
            heading: say!(
                lang,
                "Sharing with {partner} has ended",
                "Ya no comparte datos con {partner}",
                "Le partage avec {partner} est terminé",
            ),
            sentences: vec![say!(
                lang,
                "{partner} doesn’t get your data through Catena any more. If that wasn’t intended, you can connect again.",
                "{partner} ya no recibe sus datos a través de Catena. Si no era su intención, puede conectarse de nuevo.",
                "{partner} ne reçoit plus vos données par l’intermédiaire de Catena. Si ce n’était pas voulu, vous pouvez rétablir la connexion.",
            )],
        }
    }

    fn declined(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Invitation declined",
                "Invitación rechazada",
                "Invitation refusée",
            ),
            heading: say!(
                lang,
                "You declined the invitation",
                "Usted rechazó la invitación",
                "Vous avez refusé l’invitation",
            ),
            sentences: vec![say!(
                lang,
                "Nothing is shared with {partner}. If you changed your mind, you can start again.",
                "No se comparte nada con {partner}. Si ha cambiado de opinión, puede empezar de nuevo.",
                "Rien n’est partagé avec {partner}. Si vous avez changé d’avis, vous pouvez recommencer.",
            )],
        }
    }

    fn expired(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Invitation expired",
                "Invitación caducada",
                "Invitation expirée",
            ),
            heading: say!(
                lang,
                "Your invitation has expired",
                "Su invitación ha caducado",
                "Votre invitation a expiré",
            ),
            sentences: vec![say!(
                lang,
                "Invitations hold for a limited time only. You can get a new one from {partner}.",
                "Las invitaciones solo son válidas por un tiempo limitado. Puede obtener una nueva de {partner}.",
                "Les invitations ne sont valables que pour une durée limitée. Vous pouvez en obtenir une nouvelle auprès de {partner}.",
            )],
        }
    }

    fn withdrawn(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Invitation withdrawn",
                "Invitación retirada",
                "Invitation retirée",
            ),
            heading: say!(
                lang,
                "Your invitation was taken back",
                "Se ha retirado su invitación",
                "Votre invitation a été retirée",
            ),
            sentences: vec![say!(
                lang,
                "Only {partner} can invite you again. If you still want to share your data, please ask {partner}.",
                "Solo {partner} puede invitarle de nuevo. Si aún desea compartir sus datos, pregunte a {partner}.",
                "Seul {partner} peut vous inviter de nouveau. Si vous souhaitez toujours partager vos données, adressez-vous à {partner}.",
            )],
        }
    }

    fn failed(self) -> Telling {
        let Self { lang, .. } = self;
        Telling {
            title: say!(
                lang,
                "Nothing connected",
                "Nada conectado",
                "Rien de connecté"
            ),
            heading: say!(
                lang,
                "It seems that nothing was connected",
                "Parece que no se conectó nada",
                "Il semble que rien n’ait été connecté",
            ),
            sentences: vec![say!(
                lang,
                "That is what we were told when you came back from Catena. If you did connect, it is shown here once Catena confirms it.",
                "Es lo que se nos indicó cuando volvió de Catena. Si llegó a conectar su proveedor, se mostrará aquí cuando Catena lo \
                 confirme.",
                "C’est ce qui nous a été indiqué à votre retour de Catena. Si vous avez bien connecté votre fournisseur, cela sera affiché ici quand \
                 Catena l’aura confirmé.",
            )],
        }
    }

    pub(crate) fn link_ended(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Link no longer valid",
                "Enlace no válido",
                "Lien non valable",
            ),
            heading: say!(
                lang,
                "This link no longer works",
                "Este enlace ya no funciona",
                "Ce lien ne fonctionne plus",
            ),
            sentences: vec![say!(
                lang,
                "It was replaced, taken back or is too old. Please ask {partner} for a new one.",
                "Se ha sustituido, se ha retirado o es demasiado antiguo. Pida uno nuevo a {partner}.",
                "Il a été remplacé, retiré ou est trop ancien. Demandez-en un nouveau à {partner}.",
            )],
        }
    }

    pub(crate) fn not_found(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Page not found",
                "Página no encontrada",
                "Page introuvable",
            ),
            heading: say!(
                lang,
                "There is nothing here",
                "Aquí no hay nada",
                "Il n’y a rien ici",
            ),
            sentences: vec![say!(
                lang,
                "The address is incomplete, mistyped or no longer valid. Please open the link in your invitation from {partner} again.",
                "La dirección está incompleta, mal escrita o ya no es válida. Abra de nuevo el enlace de su invitación de {partner}.",
                "L’adresse est incomplète, erronée ou n’est plus valable. Ouvrez de nouveau le lien de votre invitation de {partner}.",
            )],
        }
    }

    pub(crate) fn unavailable(self) -> Telling {
        let Self { lang, .. } = self;
        Telling {
            title: say!(
                lang,
                "Not possible right now",
                "No disponible por ahora",
                "Indisponible pour le moment",
            ),
            heading: say!(
                lang,
                "This isn’t possible right now",
                "Esto no es posible en este momento",
                "Ce n’est pas possible pour le moment",
            ),
            sentences: vec![say!(
                lang,
                "We or Catena can’t answer at the moment. Nothing is lost: please try again shortly.",
                "Nosotros o Catena no podemos responder en este momento. No se ha perdido nada: inténtelo de nuevo en breve.",
                "Nous ou Catena ne pouvons pas répondre pour le moment. Rien n’est perdu\u{a0}: réessayez dans un instant.",
            )],
        }
    }

    /// `minutes`: how long to wait, 1 at least.
    pub(crate) fn too_soon(self, minutes: i64) -> Telling {
        let Self { lang, .. } = self;
        let heading = match minutes {
            1 => say!(
                lang,
                "Please try again in a minute",
                "Inténtelo de nuevo en un minuto",
                "Veuillez réessayer dans une minute",
            ),
            minutes => say!(
                lang,
                "Please try again in {minutes} minutes",
                "Inténtelo de nuevo en {minutes} minutos",
                "Veuillez réessayer dans {minutes} minutes",
            ),
        };
        Telling {
            title: say!(
                lang,
                "Please wait",
                "Espere un momento",
                "Veuillez patienter"
            ),
            heading,
            sentences: vec![say!(
                lang,
                "We asked Catena for you only a moment ago, and can’t ask again so soon.",
                "Acabamos de hacer una consulta a Catena para usted y no podemos repetirla tan pronto.",
                "Nous venons d’interroger Catena pour vous et ne pouvons pas recommencer si vite.",
            )],
        }
    }

    pub(crate) fn refused(self) -> Telling {
        let Self { lang, partner } = self;
        Telling {
            title: say!(
                lang,
                "Can’t continue",
                "No se puede continuar",
                "Impossible de continuer",
            ),
            heading: say!(
                lang,
                "We can’t take you to Catena",
                "No podemos llevarle a Catena",
                "Nous ne pouvons pas vous conduire vers Catena",
            ),
            sentences: vec![say!(
                lang,
                "Catena gave us no address that we may send you to. You did nothing wrong, and there is nothing that you can do about it. \
                 Please ask {partner}.",
                "Catena no nos dio ninguna dirección a la que podamos enviarle. Usted no ha hecho nada mal y no puede resolverlo por su \
                 cuenta. Pregunte a {partner}.",
                "Catena ne nous a donné aucune adresse vers laquelle nous pouvons vous envoyer. Vous n’y êtes pour rien et ne pouvez rien y \
                 changer. Adressez-vous à {partner}.",
            )],
        }
    }

    /// What stands before and after the end of a provisional admission.
    pub(crate) fn admitted(self) -> (String, String) {
        let Self { lang, partner } = self;
        let before = say!(lang, "Until ", "Hasta el ", "Jusqu’au ");
        let after = say!(
            lang,
            ", you may use {partner} meanwhile.",
            ", puede usar {partner} mientras tanto.",
            ", vous pouvez utiliser {partner} en attendant.",
        );
        (before, after)
    }

    /// What stands before the moment from which one may try again.
    pub(crate) fn again_from(self) -> String {
        say!(
            self.lang,
            "You can try again from ",
            "Puede volver a intentarlo a partir del ",
            "Vous pourrez réessayer à partir du ",
        )
    }

    pub(crate) fn button(self, step: Step) -> String {
        let Self { lang, .. } = self;
        match step {
            Step::Connect => say!(lang, "Connect", "Conectar", "Connecter"),
            Step::Continue => say!(lang, "Continue", "Continuar", "Continuer"),
            Step::TryAgain => say!(lang, "Try again", "Intentar de nuevo", "Réessayer"),
            Step::ConnectAgain => {
                say!(
                    lang,
                    "Connect again",
                    "Conectar de nuevo",
                    "Rétablir la connexion"
                )
            }
            Step::StartAgain => say!(lang, "Start again", "Empezar de nuevo", "Recommencer"),
            Step::Renew => say!(
                lang,
                "Get a new invitation",
                "Obtener una nueva invitación",
                "Obtenir une nouvelle invitation",
            ),
            Step::OpenConnect => say!(
                lang,
                "Open Catena Connect",
                "Abrir Catena Connect",
                "Ouvrir Catena Connect",
            ),
            Step::Another => say!(
                lang,
                "Connect another provider",
                "Conectar otro proveedor",
                "Connecter un autre fournisseur",
            ),
        }
    }

    /// What to do where there can be no button, because this browser isn't known to have the link.
    pub(crate) fn by_link(self, step: Step) -> String {
        let Self { lang, partner } = self;
        match step {
            Step::Connect => say!(
                lang,
                "To connect, open the link in your invitation from {partner} again.",
                "Para conectarse, abra de nuevo el enlace de su invitación de {partner}.",
                "Pour connecter votre fournisseur, ouvrez de nouveau le lien de votre invitation de {partner}.",
            ),
            Step::Continue => say!(
                lang,
                "To continue, open the link in your invitation from {partner} again.",
                "Para continuar, abra de nuevo el enlace de su invitación de {partner}.",
                "Pour continuer, ouvrez de nouveau le lien de votre invitation de {partner}.",
            ),
            Step::TryAgain => say!(
                lang,
                "To try again, open the link in your invitation from {partner} again.",
                "Para volver a intentarlo, abra de nuevo el enlace de su invitación de {partner}.",
                "Pour réessayer, ouvrez de nouveau le lien de votre invitation de {partner}.",
            ),
            Step::ConnectAgain => say!(
                lang,
                "To connect again, open the link in your invitation from {partner}.",
                "Para conectarse de nuevo, abra el enlace de su invitación de {partner}.",
                "Pour rétablir la connexion, ouvrez le lien de votre invitation de {partner}.",
            ),
            Step::StartAgain => say!(
                lang,
                "To start again, open the link in your invitation from {partner}.",
                "Para empezar de nuevo, abra el enlace de su invitación de {partner}.",
                "Pour recommencer, ouvrez le lien de votre invitation de {partner}.",
            ),
            Step::Renew => say!(
                lang,
                "To get a new one, open the link in your invitation from {partner} again.",
                "Para obtener una nueva, abra otra vez el enlace de su invitación de {partner}.",
                "Pour en obtenir une nouvelle, ouvrez encore le lien de votre invitation de {partner}.",
            ),
            Step::OpenConnect => say!(
                lang,
                "To open Catena Connect, use the link in your invitation from {partner} again.",
                "Para abrir Catena Connect, use de nuevo el enlace de su invitación de {partner}.",
                "Pour ouvrir Catena Connect, utilisez de nouveau le lien de votre invitation de {partner}.",
            ),
            Step::Another => say!(
                lang,
                "To connect another provider, open the link in your invitation from {partner} again.",
                "Para conectar otro proveedor, abra de nuevo el enlace de su invitación de {partner}.",
                "Pour connecter un autre fournisseur, ouvrez de nouveau le lien de votre invitation de {partner}.",
            ),
        }
    }

    pub(crate) fn back_to_partner(self) -> String {
        let Self { lang, partner } = self;
        say!(
            lang,
            "Back to {partner}",
            "Volver a {partner}",
            "Retour à {partner}"
        )
    }

    /// The heading of what the partner asks to see, or to see and change.
    pub(crate) fn may(self, change: bool) -> String {
        let Self { lang, partner } = self;
        if change {
            say!(
                lang,
                "{partner} may see and change",
                "{partner} podrá ver y modificar",
                "{partner} pourra voir et modifier",
            )
        } else {
            say!(
                lang,
                "{partner} may see",
                "{partner} podrá ver",
                "{partner} pourra voir"
            )
        }
    }

    pub(crate) fn fixed(self, text: Fixed) -> String {
        let Self { lang, partner } = self;
        match text {
            Fixed::Language => say!(lang, "Language", "Idioma", "Langue"),
            Fixed::CheckAgain => say!(
                lang,
                "Check again",
                "Comprobar de nuevo",
                "Vérifier de nouveau"
            ),
            Fixed::BackToInvitation => say!(
                lang,
                "Back to the invitation",
                "Volver a la invitación",
                "Retour à l’invitation",
            ),
            Fixed::WhatIsShared => say!(
                lang,
                "What {partner} asks you to share",
                "Lo que {partner} le pide compartir",
                "Ce que {partner} vous demande de partager",
            ),
            Fixed::Late => say!(
                lang,
                "This takes longer than usual. You may close this page, nothing is lost: please check again later.",
                "Está tardando más de lo habitual. Puede cerrar esta página, no se perderá nada: vuelva a comprobarlo más tarde.",
                "Cela prend plus de temps que d’habitude. Vous pouvez fermer cette page, rien ne sera perdu\u{a0}: vérifiez de nouveau plus \
                 tard.",
            ),
            Fixed::NoNews => say!(
                lang,
                "There is still no news from Catena. You may close this page, nothing is lost: if you did connect, please check again later.",
                "Todavía no hay noticias de Catena. Puede cerrar esta página, no se perderá nada: si llegó a conectar su proveedor, vuelva a \
                 comprobarlo más tarde.",
                "Toujours pas de nouvelles de Catena. Vous pouvez fermer cette page, rien ne sera perdu\u{a0}: si vous avez connecté votre \
                 fournisseur, vérifiez de nouveau plus tard.",
            ),
            Fixed::NothingYet => say!(
                lang,
                "This takes you to Catena. Nothing is shared until you accept there.",
                "Este botón le lleva a Catena. No se comparte nada hasta que usted acepte allí.",
                "Ce bouton vous conduit vers Catena. Rien n’est partagé tant que vous n’avez pas donné votre accord chez Catena.",
            ),
            Fixed::Unfinished => say!(
                lang,
                "If you didn’t finish at Catena, you can continue there.",
                "Si no terminó en Catena, puede continuar allí.",
                "Si vous n’avez pas terminé chez Catena, vous pouvez y reprendre.",
            ),
            Fixed::Questions => say!(lang, "Questions?", "¿Preguntas?", "Des questions\u{a0}?"),
        }
    }
}

/// A resource in human words; of one that isn't known its name.
pub(crate) fn resource(lang: Lang, resource: &str) -> String {
    let [en, es, fr] = match resource {
        "driver_vehicle_association" => [
            "Who drives which vehicle",
            "Quién conduce cada vehículo",
            "Qui conduit quel véhicule",
        ],
        "dvir_log" => [
            "Vehicle inspection reports",
            "Informes de inspección de vehículos",
            "Rapports d’inspection des véhicules",
        ],
        "engine_log" => [
            "Engine history",
            "Historial del motor",
            "Historique du moteur",
        ],
        "engine_status" => ["Engine status", "Estado del motor", "État du moteur"],
        "fleet_info" => [
            "Fleet details",
            "Datos de la flota",
            "Informations sur la flotte",
        ],
        "fuel_transaction" => [
            "Fuel purchases",
            "Compras de combustible",
            "Achats de carburant",
        ],
        "group_message" => ["Group messages", "Mensajes de grupo", "Messages de groupe"],
        "hos_availability" => [
            "Drivers’ remaining hours",
            "Horas disponibles de los conductores",
            "Heures restantes des conducteurs",
        ],
        "hos_daily_snapshot" => [
            "Daily summaries of drivers’ hours",
            "Resumen diario de horas de los conductores",
            "Résumé quotidien des heures des conducteurs",
        ],
        "hos_event" => [
            "Drivers’ duty status changes",
            "Cambios de estado de servicio de los conductores",
            "Changements de statut de service des conducteurs",
        ],
        "hos_violation" => [
            "Hours-of-service violations",
            "Infracciones de las horas de servicio",
            "Infractions aux heures de service",
        ],
        "ifta_summary" => [
            "Fuel tax summaries (IFTA)",
            "Resúmenes del impuesto sobre combustible (IFTA)",
            "Récapitulatifs de taxe sur le carburant (IFTA)",
        ],
        "message" => [
            "Individual messages",
            "Mensajes individuales",
            "Messages individuels",
        ],
        "trailer" => ["Trailers", "Remolques", "Remorques"],
        "trailer_location" => [
            "Trailer locations",
            "Ubicación de los remolques",
            "Position des remorques",
        ],
        "trailer_status" => [
            "Trailer status",
            "Estado de los remolques",
            "État des remorques",
        ],
        "trailer_vehicle_association" => [
            "Which vehicle pulls which trailer",
            "Qué vehículo lleva cada remolque",
            "Quel véhicule tire quelle remorque",
        ],
        "user" => [
            "Drivers and other users",
            "Conductores y otros usuarios",
            "Conducteurs et autres utilisateurs",
        ],
        "vehicle" => ["Vehicles", "Vehículos", "Véhicules"],
        "vehicle_location" => [
            "Vehicle locations",
            "Ubicación de los vehículos",
            "Position des véhicules",
        ],
        "workflow" => ["Workflows", "Flujos de trabajo", "Flux de travail"],
        other => return other.replace('_', " "),
    };
    match lang {
        Lang::En => en,
        Lang::Es => es,
        Lang::Fr => fr,
    }
    .to_owned()
}

/// A name that can be shown.
pub(crate) fn named(name: &Option<String>) -> Option<&str> {
    name.as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty())
}
