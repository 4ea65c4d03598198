"""Kafka brokers: their settings, their format, and the request that tells that they serve.

Owns what stands below FOLDER/kafka-N. Each broker is also a controller (KRaft, combined mode), so that one process or
three are a whole cluster.
"""

import secrets
import socket
import struct

from process import HOME, Failed, Server

JARS = HOME / "kafka"
JAVA = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{JARS}/*",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        "-Dorg.slf4j.simpleLogger.showThreadName=false"]

SETTINGS = """\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},PROXIED://127.0.0.1:{proxied_port}{secured_listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}{secured_listener}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURED:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={data}

# A topic exists because somebody made it.
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}

# Small and quick: few internal partitions, and no wait for members that might still come.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
log.cleaner.dedupe.buffer.size=16777216
group.initial.rebalance.delay.ms=0
{secured}
# Tests use short sessions and transactions, and restart brokers: what died is noticed within seconds. A new incarnation
# of a killed broker is let in when the session of the old one has ended.
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
"""

# A listener with TLS and passwords, and rights that must be granted. Who comes to the other listeners may do everything.
SECURED = """\
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location={pem}
listener.name.secured.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {plain};
listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""

# Who may log in; what they may do is the test's decision.
USERS = ("alice", "bob", "carol")
CERTIFICATE_DAYS = "30"

PORT_NAMES = ("port", "controller_port", "proxied_port", "proxy_port", "secured_port")


def plan(ports, count, secured):
    """The part of the state for a new cluster; it takes `len(PORT_NAMES)` ports for each broker.

    Who comes to `proxied_port` is told to go to `proxy_port`: there, a test may let a proxy listen.
    """
    brokers = [{"id": number, **{name: next(ports) for name in PORT_NAMES}, "pid": None} for number in range(1, count + 1)]
    bootstrap = ",".join(f"127.0.0.1:{broker['port']}" for broker in brokers)
    # 22 characters for 16 bytes; a first one of our own, because a leading dash would read as an option.
    found = {"bootstrap": bootstrap, "cluster": "S" + secrets.token_urlsafe(16)[1:], "brokers": brokers}
    if secured:
        found["passwords"] = {user: secrets.token_hex(8) for user in USERS}
    return found


class Broker(Server):
    def __init__(self, folder, state, number):
        self.number = number
        self.name = f"kafka:{number}"
        super().__init__(folder, state)
        self.cluster = state["kafka"]
        self.place = folder.path / f"kafka-{number}"
        # The brokers that it must know of to be ready.
        self.peers = {number}

    def entry(self, state):
        for broker in state["kafka"]["brokers"]:
            if broker["id"] == self.number:
                return broker
        raise Failed(f"there is no {self.name}; the brokers are {[b['id'] for b in state['kafka']['brokers']]}")

    def prepare(self):
        if not JARS.is_dir():
            raise Failed("Kafka is not installed: run scripts/servers/install.sh")
        data, settings = self.place / "data", self.place / "server.properties"
        if (data / "meta.properties").exists():
            return
        self.place.mkdir(exist_ok=True)
        brokers = self.cluster["brokers"]
        voters = ",".join(f"{b['id']}@127.0.0.1:{b['controller_port']}" for b in brokers)
        replicas = min(3, len(brokers))
        passwords = self.cluster.get("passwords", {})
        secured, secured_listener, scram = "", "", []
        if passwords:
            plain = " ".join(f'user_{user}="{password}"' for user, password in passwords.items())
            secured = SECURED.format(pem=self.certificate(), plain=plain)
            secured_listener = f",SECURED://127.0.0.1:{self.settings['secured_port']}"
            scram = [word for user, password in passwords.items()
                     for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")]
        settings.write_text(SETTINGS.format(**self.settings, voters=voters, data=data, replicas=replicas,
                                            in_sync=2 if replicas == 3 else 1,
                                            secured=secured, secured_listener=secured_listener))
        self.finish([*JAVA, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", self.cluster["cluster"],
                     "-c", str(settings), *scram])

    def certificate(self):
        """A certificate for 127.0.0.1 with its key, signed by an authority of this broker alone: `ca.pem` beside it."""
        ca, key, pem = self.place / "ca.pem", self.place / "key.pem", self.place / "broker.pem"
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", CERTIFICATE_DAYS]
        self.finish([*new, "-subj", "/CN=segno-test-authority", "-keyout", str(self.place / "ca-key.pem"), "-out", str(ca)])
        self.finish([*new, "-subj", "/CN=segno-test-broker", "-addext", "subjectAltName=IP:127.0.0.1",
                     "-addext", "basicConstraints=critical,CA:FALSE", "-CA", str(ca), "-CAkey", str(self.place / "ca-key.pem"),
                     "-keyout", str(key), "-out", str(pem)])
        pem.write_text(key.read_text() + pem.read_text())
        return pem

    def command(self):
        return [*JAVA, "kafka.Kafka", str(self.place / "server.properties")]

    def unready(self):
        missing = self.peers - brokers_known_to(self.settings["port"])
        return f"brokers {sorted(missing)} are not registered" if missing else None


def brokers_known_to(port):
    """Asks a broker for the cluster's metadata (version 4, no topics): the ids of the brokers that serve."""
    body = struct.pack(">hhih5sib", 3, 4, 1, 5, b"segno", 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = connection.makefile("rb")

        def number(form):
            data = answer.read(struct.calcsize(form))
            if len(data) < struct.calcsize(form):
                raise ConnectionError("the broker closed the connection")
            return struct.unpack(form, data)[0]

        def text():
            answer.read(max(number(">h"), 0))

        number(">i"), number(">i"), number(">i")    # size, correlation id, throttle time
        ids = set()
        for _ in range(number(">i")):
            ids.add(number(">i"))
            text(), number(">i"), text()            # host, port, rack
        return ids
