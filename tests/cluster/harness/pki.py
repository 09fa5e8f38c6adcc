"""The certificates of a test cluster, drawn anew for each."""

import subprocess
from pathlib import Path


def make(folder: Path, address: str) -> None:
    """``ca``, ``api``, ``kubelet-client`` (crt and key) and ``sa`` (key and pub) in ``folder``."""
    folder.mkdir(parents=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    _openssl(folder, "req", "-x509", *curve, "-days", "30", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test")
    names = ["DNS:kubernetes", "DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local"]
    addresses = [f"IP:{each}" for each in (address, "10.96.0.1", "127.0.0.1")]
    (folder / "api.ext").write_text(f"subjectAltName={','.join([*addresses, *names])}\n")
    (folder / "kubelet-client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for name, subject in (
        ("api", "/CN=kube-apiserver"),
        ("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client"),
    ):
        _openssl(folder, "req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext"]
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.crt")
    _openssl(folder, "genrsa", "-out", "sa.key", "2048")
    _openssl(folder, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
