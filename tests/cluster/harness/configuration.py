"""How each part of the test cluster is told what to do. Pure, but for the files that the parts read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

_ETCD = "http://127.0.0.1:2379"
_PODS = "10.244.0.0/24"


def kubeconfig(folder: Path, address: str, token: str) -> str:
    cluster = {"server": f"https://{address}:6443", "certificate-authority": str(folder / "pki" / "ca.crt")}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
    )


def etcd(folder: Path) -> Sequence[str]:
    peers = "http://127.0.0.1:2380"
    return [
        "etcd",
        *("--data-dir", str(folder / "etcd"), "--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"default={peers}", "--unsafe-no-fsync"),
    ]


def apiserver(folder: Path, address: str) -> Sequence[str]:
    pki = folder / "pki"
    return [
        f"--etcd-servers={_ETCD}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        "--secure-port=6443",
        f"--tls-cert-file={pki}/api.crt",
        f"--tls-private-key-file={pki}/api.key",
        f"--cert-dir={pki}",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--token-auth-file={pki}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={pki}/kubelet-client.crt",
        f"--kubelet-client-key={pki}/kubelet-client.key",
    ]


def controllers(folder: Path) -> Mapping[str, Sequence[str]]:
    common = [f"--kubeconfig={folder / 'kubeconfig'}", "--leader-elect=false", "--bind-address=127.0.0.1"]
    pki = folder / "pki"
    return {
        "controller-manager": [
            *common,
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            "--use-service-account-credentials",
        ],
        "scheduler": common,
    }


def containerd(folder: Path, name: str) -> Sequence[str]:
    (folder / "run").mkdir(exist_ok=True)
    network = folder / "cni"
    network.mkdir()
    plugins = [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": _PODS}]], "routes": [{"dst": "0.0.0.0/0"}]},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    (network / "10-pods.conflist").write_text(json.dumps({"cniVersion": "0.4.0", "name": name, "plugins": plugins}))
    (folder / "containerd.toml").write_text(f"""version = 2
root = "{folder}/containerd-root"
state = "{folder}/containerd-state"
[grpc]
  address = "{folder}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
""")
    return ["containerd", "-c", str(folder / "containerd.toml")]


def kubelet(folder: Path, address: str, dns: str, cgroup: str) -> Sequence[str]:
    _document(
        folder / "kubelet.yaml",
        apiVersion="kubelet.config.k8s.io/v1beta1",
        kind="KubeletConfiguration",
        authentication={
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folder / "pki" / "ca.crt")},
        },
        authorization={"mode": "Webhook"},
        cgroupDriver="cgroupfs",
        cgroupRoot=f"/{cgroup}",
        failSwapOn=False,
        failCgroupV1=False,
        containerRuntimeEndpoint=f"unix://{folder}/run/containerd.sock",
        clusterDNS=[dns],
        clusterDomain="cluster.local",
        resolvConf="",
        maxPods=200,
        podLogsDir=str(folder / "pod-logs"),
        imageGCHighThresholdPercent=100,
        evictionHard={"nodefs.available": "0%", "imagefs.available": "0%", "memory.available": "50Mi"},
    )
    return [
        f"--config={folder}/kubelet.yaml",
        f"--kubeconfig={folder}/kubeconfig",
        "--hostname-override=node1",
        f"--node-ip={address}",
        f"--root-dir={folder}/kubelet",
    ]


def proxy(folder: Path) -> Sequence[str]:
    _document(
        folder / "kube-proxy.yaml",
        apiVersion="kubeproxy.config.k8s.io/v1alpha1",
        kind="KubeProxyConfiguration",
        mode="iptables",
        clientConnection={"kubeconfig": str(folder / "kubeconfig")},
        clusterCIDR=_PODS,
        hostnameOverride="node1",
        conntrack={"maxPerCore": 0},
    )
    return ["--config", str(folder / "kube-proxy.yaml")]


def coredns(folder: Path, address: str, dns: str) -> Sequence[str]:
    (folder / "Corefile").write_text(f""".:53 {{
    bind {dns}
    kubernetes cluster.local in-addr.arpa {{
        endpoint https://{address}:6443
        kubeconfig {folder}/kubeconfig test
    }}
    cache 2
}}
""")
    return ["-conf", str(folder / "Corefile")]


def volume(name: str, path: Path) -> Mapping[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(path)},
        },
    }


def _document(path: Path, **content: object) -> None:
    path.write_text(yaml.safe_dump(content))
