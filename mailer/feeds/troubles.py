"""Why an address on the web could not be read: a code and its English sentence for an editor, which the catalogues translate."""

import enum
from typing import Final


class Trouble(enum.StrEnum):
    """What went wrong; the {names} of its sentence are FeedUnreachable.values."""

    NO_ADDRESS = "no_address"
    NO_ANSWER = "no_answer"
    UNASKED_UNCHANGED = "unasked_unchanged"
    REDIRECT_CIRCLE = "redirect_circle"
    REDIRECTS_TOO_OFTEN = "redirects_too_often"
    REDIRECT_NOWHERE = "redirect_nowhere"
    REDIRECT_ASTRAY = "redirect_astray"
    STATUS = "status"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    PRIVATE = "private"
    PRIVATE_NAME = "private_name"
    NAME_UNKNOWN = "name_unknown"
    NOT_FINISHED = "not_finished"
    NOT_ANSWERED = "not_answered"
    COMPRESSION = "compression"
    BROKE_OFF = "broke_off"
    CERTIFICATE = "certificate"
    ENCRYPTION = "encryption"
    CONNECTION_REFUSED = "connection_refused"
    NOT_REACHED = "not_reached"


SENTENCES: Final = {
    Trouble.NO_ADDRESS: "This is not an http:// or https:// address that can be asked.",
    Trouble.NO_ANSWER: "The address answered nothing.",
    Trouble.UNASKED_UNCHANGED: "The server says that the page has not changed, which was not asked.",
    Trouble.REDIRECT_CIRCLE: "{host} redirects in a circle.",
    Trouble.REDIRECTS_TOO_OFTEN: "{host} redirects more than {count} times.",
    Trouble.REDIRECT_NOWHERE: "{host} redirects without saying where to.",
    Trouble.REDIRECT_ASTRAY: "{host} redirects to something that is not a web address.",
    Trouble.TOO_LARGE: "The feed at {host} is larger than {size} MB.",
    Trouble.ENCODING: "{host} answered in the encoding “{coding}”, unasked.",
    Trouble.PRIVATE: "{host} is a private address, which the settings do not allow.",
    Trouble.PRIVATE_NAME: "{host} resolves to the private address {address}, which the settings do not allow.",
    Trouble.NAME_UNKNOWN: "The name {host} is not known.",
    Trouble.NOT_FINISHED: "{host} did not finish within {seconds} s.",
    Trouble.NOT_ANSWERED: "{host} did not answer within {seconds} s.",
    Trouble.COMPRESSION: "{host} sent a compressed answer that is damaged.",
    Trouble.BROKE_OFF: "{host} broke off or did not speak HTTP properly.",
    Trouble.CERTIFICATE: "{host} has a certificate that is not trusted ({detail}).",
    Trouble.ENCRYPTION: "{host} could not agree on an encrypted connection ({detail}).",
    Trouble.CONNECTION_REFUSED: "{host} refused the connection.",
    Trouble.NOT_REACHED: "{host} could not be reached.",
    Trouble.STATUS: "{host} answered {answer}.",
}
