"""The managed NATS: servers with JetStream on volumes, one user per service and what each may say and hear."""

from typing import Final

from chatoperator.objects import Json, Object
from chatoperator.plan import access, datastores, pods, tls
from chatoperator.plan.naming import NATS_PORT, child, member_hosts, metadata
from chatoperator.spec import ChatCluster, ManagedNats

_ROUTES_PORT: Final = 6222
_MONITOR_PORT: Final = 8222
_LAME_DUCK_S: Final = 30
_CONFIG: Final = "/etc/nats/nats.conf"
_PID: Final = "/tmp/nats.pid"  # noqa: S108  an emptyDir of the pod's own

CONFIGURATION: Final = """\
# Written by chat-operator; changes are put right.
server_name: $POD_NAME
port: {port}
http_port: {monitor}
{tls}pid_file: "{pid}"
lame_duck_duration: "{duck}s"
lame_duck_grace_period: "2s"
max_payload: 1MB
max_pending: 256MB
write_deadline: "10s"
jetstream {{
  store_dir: "/data"
  max_memory_store: 64MB
  max_file_store: {store}
  sync_interval: always
}}
{cluster}accounts {{
  CHAT: {{
    jetstream: enabled
    users: [
      {{
        user: node
        password: $NATS_NODE
        permissions: {{
          publish: {{ allow: ["chat.*.room.*", "live.*.room.*", "ctl.>", "presence", "$JS.API.STREAM.INFO.*",
            "$JS.API.STREAM.MSG.GET.*", "$JS.API.DIRECT.GET.>", "_INBOX.>"] }}
          subscribe: {{ allow: ["_INBOX.>", "live.>", "presence", "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.*"] }}
        }}
      }}
      {{
        user: worker
        password: $NATS_WORKER
        permissions: {{
          publish: {{ allow: ["chat.*.room.*", "ctl.>", "$JS.API.>", "$JS.ACK.>"] }}
          subscribe: {{ allow: ["_INBOX.>", "live.>", "$JS.EVENT.ADVISORY.>"] }}
        }}
      }}
    ]
  }}
  SYS: {{ users: [{{ user: system, password: $NATS_SYSTEM }}] }}
}}
system_account: SYS
"""
_CLUSTER: Final = """\
cluster {{
  name: chat
  port: {port}
{tls}  # Clients are told all members by name; by address they could not check whom they reach.
  no_advertise: true
  authorization {{ user: route, password: $NATS_ROUTE, timeout: 5 }}
  routes: [
{routes}
  ]
  connect_retries: 120
}}
"""
_TLS: Final = f"""\
tls {{
  cert_file: "{tls.FOLDER}/{tls.CERTIFICATE}"
  key_file: "{tls.FOLDER}/{tls.KEY}"
  timeout: 5
}}
"""
_ROUTES_TLS: Final = f"""\
  tls {{
    cert_file: "{tls.FOLDER}/{tls.CERTIFICATE}"
    key_file: "{tls.FOLDER}/{tls.KEY}"
    ca_file: "{tls.FOLDER}/{tls.TRUST}"
    timeout: 5
  }}
"""


def configuration(cluster: ChatCluster, managed: ManagedNats) -> str:
    """The servers' file. Passwords come from the environment, so that it is no secret."""
    speaks = bool(tls.components(cluster))
    routes = "\n".join(f"    $NATS_ROUTE_{ordinal}" for ordinal in range(managed.replicas))
    both_ways = _ROUTES_TLS if speaks else ""
    together = _CLUSTER.format(port=_ROUTES_PORT, routes=routes, tls=both_ways) if managed.replicas > 1 else ""
    return CONFIGURATION.format(
        tls=_TLS if speaks else "",
        port=NATS_PORT,
        monitor=_MONITOR_PORT,
        pid=_PID,
        duck=_LAME_DUCK_S,
        store=managed.storage.size.removesuffix("i") + "B",
        cluster=together,
    )


def config_map(cluster: ChatCluster, managed: ManagedNats) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(cluster, child(cluster, "nats"), "nats"),
        "data": {"nats.conf": configuration(cluster, managed)},
    }


def service(cluster: ChatCluster) -> Object:
    ports: list[Json] = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (("client", NATS_PORT), ("routes", _ROUTES_PORT), ("monitor", _MONITOR_PORT))
    ]
    return datastores.headless_service(cluster, "nats", ports)


def stateful_set(cluster: ChatCluster, managed: ManagedNats) -> Object:
    main = pods.container(
        "nats",
        managed.image,
        cluster.spec.image.pull_policy,
        command=["nats-server", "--config", _CONFIG],
        env=[
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
            *(
                _secret_variable(cluster, variable, key)
                for variable, key in (
                    ("NATS_NODE", "nats-node"),
                    ("NATS_WORKER", "nats-worker"),
                    ("NATS_ROUTE", access.NATS_ROUTE),
                    ("NATS_SYSTEM", access.NATS_SYSTEM),
                )
            ),
            *_route_variables(cluster, managed),
        ],
        ports=[
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in (("client", NATS_PORT), ("routes", _ROUTES_PORT), ("monitor", _MONITOR_PORT))
        ],
        startupProbe=pods.probe("/healthz?js-enabled-only=true", "monitor", period=1, failures=180),
        readinessProbe=pods.probe("/healthz?js-server-only=true", "monitor", period=5, failures=2),
        livenessProbe=pods.probe("/healthz?js-enabled-only=true", "monitor", period=15, failures=4, timeout=5),
        lifecycle={"preStop": {"exec": {"command": ["nats-server", "--signal", f"ldm={_PID}"]}}},
        resources=pods.resources(managed.resources),
        volumeMounts=[
            pods.TMP_MOUNT,
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": "/etc/nats", "readOnly": True},
            *pods.tls_mounts(cluster),
        ],
    )
    template = pods.template(
        cluster,
        "nats",
        main,
        volumes=[
            pods.TMP,
            pods.file_volume("config", config=child(cluster, "nats")),
            *pods.tls_volumes(cluster, "nats"),
        ],
        configuration=pods.checksum(configuration(cluster, managed)),
        grace_s=_LAME_DUCK_S + 20,
        over="Zone",
    )
    return datastores.stateful_set(cluster, "nats", managed.replicas, template, managed.storage)


def _route_variables(cluster: ChatCluster, managed: ManagedNats) -> list[Object]:
    """Whole URLs, because a variable inside a value is not looked up by nats-server, but by Kubernetes."""
    if managed.replicas == 1:
        return []
    hosts = member_hosts(cluster, "nats", managed.replicas)
    return [
        {"name": f"NATS_ROUTE_{ordinal}", "value": f"nats://route:$(NATS_ROUTE)@{host}:{_ROUTES_PORT}"}
        for ordinal, host in enumerate(hosts)
    ]


def _secret_variable(cluster: ChatCluster, variable: str, key: str) -> Object:
    return {
        "name": variable,
        "valueFrom": {"secretKeyRef": {"name": access.credentials_name(cluster), "key": key}},
    }
