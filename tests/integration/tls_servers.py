"""nats-server and mongod that speak TLS alone, under certificates of an authority of the test's own."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from chatnode.local.servers import Mongod, NatsServer
from chatoperator.certificates import Keypair, issue, make_authority


class Authority:
    """Certificates for servers called ``localhost``, as files in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.keypair = make_authority("test", datetime.now(UTC))
        self.file = folder / "ca.crt"
        self.file.write_text(self.keypair.certificate)
        self.folder = folder
        self.renew()

    def renew(self, hosts: Sequence[str] = ("localhost",)) -> Keypair:
        made = issue(self.keypair, "test", hosts, datetime.now(UTC))
        for name, content in (
            ("tls.crt", made.certificate),
            ("tls.key", made.key),
            ("tls-combined.pem", made.key + made.certificate),
        ):
            (self.folder / name).write_text(content)
        return made


class TlsNats(NatsServer):
    """Reads its certificate when it starts and when it is told to reload."""

    def __init__(self, directory: Path, authority: Authority, *, port: int | None = None) -> None:
        super().__init__(directory, port=port)
        self._authority = authority
        self._own = directory

    @property
    def url(self) -> str:
        return f"tls://localhost:{self.port}"

    def command(self) -> Sequence[str]:
        command = super().command()
        folder = self._authority.folder
        with (self._own / "nats-server.conf").open("a") as config:
            config.write(f'tls {{ cert_file: "{folder}/tls.crt", key_file: "{folder}/tls.key", timeout: 5 }}\n')
        return command


class TlsMongod(Mongod):
    """Also speaks without, by which it is set up; its address is for clients that ask for TLS."""

    def __init__(self, directory: Path, authority: Authority, *, port: int | None = None) -> None:
        super().__init__(directory, port=port)
        self._authority = authority

    @property
    def uri(self) -> str:
        trust = f"tls=true&tlsCAFile={self._authority.file}"
        return f"mongodb://localhost:{self.port}/?directConnection=true&{trust}"

    def command(self) -> Sequence[str]:
        folder = self._authority.folder
        files = ("--tlsCertificateKeyFile", f"{folder}/tls-combined.pem", "--tlsCAFile", f"{folder}/ca.crt")
        return (*super().command(), "--tlsMode", "allowTLS", *files, "--tlsAllowConnectionsWithoutCertificates")
