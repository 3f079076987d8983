"""E-mail through a real SMTP server: encrypted, with one Message-ID, and no way in for what agents say."""

import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from uuid import UUID, uuid4

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from outlast.domain.notification import Message, Notice
from outlast.notifications.channel import Undeliverable
from outlast.notifications.mail import Mail, recipients
from outlast.settings_notifications import ChannelSettings


class Sink:
    """Takes mails, or answers what it is told to."""

    def __init__(self, *answers):
        self.mails = []
        self.people = []
        self.answers = list(answers)

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server, session, envelope, address, options
    ):
        envelope.rcpt_tos.append(address)
        return "550 nobody of that name" if address.startswith("nobody") else "250 OK"

    async def handle_DATA(  # noqa: N802 - as above
        self, server, session, envelope
    ):
        answer = self.answers.pop(0) if self.answers else "250 taken"
        self.people.append((session.auth_data, envelope.rcpt_tos))
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return answer


def log_in(server, session, envelope, mechanism, data):
    return AuthResult(success=data.login == b"outlast" and data.password == b"s3cret", auth_data=data.login)


class FreePort(Controller):
    """Listens on a port that is free."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def receiving(sink, **more):
    server = FreePort(sink, hostname="127.0.0.1", port=0, **more)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Of 127.0.0.1, trusted by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture
def tls(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def settings(server, **more):
    return ChannelSettings.model_validate({
        "type": "email", "host": "localhost", "port": server.port, "security": "none",
        "sender": "Outlast <outlast@example.com>", "to": ["ops@example.com"], **more,
    })  # fmt: skip


def message(text="Refund 120 EUR?", *, agent="support", **more):
    question = UUID(int=7)
    notice = Notice(
        event="asked", severity="info", agent=agent, kind="escalation", run_id=uuid4(), question_id=question, text=text,
        **more,
    )  # fmt: skip
    return Message(
        id=uuid4(), tenant="default", key=f"question:{question}", notices=(notice,), count=1, sent_at=datetime.now(UTC)
    )


async def test_a_mail_says_what_is_asked_and_where_to_answer():
    sink, sent = Sink(), message(link="https://agents.example.com/inbox/7", reasons=("over 100 EUR",))
    with receiving(sink) as server:
        await Mail(settings(server), timeout=5).send(sent)

    [mail] = sink.mails
    assert mail["Subject"] == "support: a person has to decide (escalation)"
    assert mail["Message-ID"] == f"<{sent.id}@example.com>"
    assert mail["References"] == f"<question.{UUID(int=7)}@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    text = mail.get_content()
    assert "Refund 120 EUR?\n- over 100 EUR\nhttps://agents.example.com/inbox/7" in text.replace("\r", "")


# It does not know that the whole connection is encrypted.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_it_logs_in_over_an_encrypted_connection(security, certificate, tls):
    encrypted = {"ssl_context": tls} if security == "tls" else {"tls_context": tls, "require_starttls": True}
    sink = Sink()
    with receiving(sink, **encrypted, authenticator=log_in, auth_required=True, **_auth_over(security)) as server:
        given = settings(server, security=security, ca_file=str(certificate), user="outlast", password="s3cret")
        await Mail(given, timeout=5).send(message())

    assert [who for who, _ in sink.people] == [b"outlast"]


def _auth_over(security):
    # aiosmtpd knows no TLS but that of STARTTLS.
    return {"auth_require_tls": security == "starttls"}


async def test_a_server_that_nobody_vouches_for_gets_no_mail_and_no_password(tls):
    sink = Sink()
    with receiving(sink, tls_context=tls, require_starttls=True) as server:
        given = settings(server, security="starttls", user="outlast", password="s3cret")
        with pytest.raises(ssl.SSLCertVerificationError):
            await Mail(given, timeout=5).send(message())
    assert sink.mails == []


@pytest.mark.parametrize(
    ("answer", "to", "error"),
    [("554 spam", "ops@example.com", Undeliverable), ("451 later", "ops@example.com", Exception),
     ("250 OK", "nobody@example.com", Undeliverable)],
)  # fmt: skip
async def test_what_the_server_says_decides_whether_it_is_tried_again(answer, to, error):
    with receiving(Sink(answer)) as server, pytest.raises(error) as raised:
        await Mail(settings(server, to=[to]), timeout=5).send(message())
    assert isinstance(raised.value, Undeliverable) == (error is Undeliverable)
    assert to not in str(raised.value), "it is kept, and addresses are not"


async def test_what_an_agent_says_adds_no_header_and_no_recipient():
    sink = Sink()
    with receiving(sink) as server:
        evil = message("hi\r\nBcc: eve@example.com\r\n.\r\nQUIT", agent="support\r\nBcc: eve@example.com")
        await Mail(settings(server), timeout=5).send(evil)

    [mail] = sink.mails
    assert mail["Bcc"] is None
    assert sink.people[0][1] == ["ops@example.com"]
    assert "QUIT" in mail.get_content(), "a line with a dot alone ends nothing"


@pytest.mark.parametrize(
    ("assignee", "gets_it"),
    [("ann@example.com", True), ("ann@EXAMPLE.com", True), ("ann@evil.example", False), ("ann", False),
     ("ann@evil.example,b@example.com", False), ("<eve@evil.example> b@example.com", False)],
)  # fmt: skip
def test_an_assignee_gets_the_mail_at_a_domain_that_is_allowed(assignee, gets_it):
    given = ChannelSettings(
        type="email", host="h", sender="o@example.com", to=("ops@example.com",), assignees=("example.com",)
    )
    assert recipients(message(assignee=assignee), given)[1:] == ([assignee] if gets_it else [])


async def test_a_question_comes_by_mail_and_again_with_the_same_id_while_the_server_cannot_take_it(desk):
    sink = Sink("451 later", "250 taken", "250 taken")
    with receiving(sink) as server:
        question = await desk.ask({"type": "escalation", "question": "Refund 120 EUR?", "assign_to": "ann@example.com"})
        channel = settings(server, assignees=["example.com"]).model_dump()
        sender = desk.sender({"mail": channel})
        await desk.sent(sender, "sent")
        await desk.runtime.inbox().assign(question.id, "ben@example.com")
        await desk.sent(sender, "sent", "sent")

    first, again, assigned = sink.mails
    assert first["Message-ID"] == again["Message-ID"] != assigned["Message-ID"]
    assert first["References"] == assigned["References"], "one conversation"
    assert f"https://agents.example.com/inbox/{question.id}" in first.get_content()
    assert [to for _, to in sink.people] == [
        ["ops@example.com", "ann@example.com"], ["ops@example.com", "ann@example.com"],
        ["ops@example.com", "ben@example.com"],
    ]  # fmt: skip
