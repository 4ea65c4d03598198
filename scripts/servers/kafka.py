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
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},PROXIED://127.0.0.1:{proxied_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{proxy_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
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
# Tests use short sessions and transactions, and restart brokers: what died is noticed within seconds. A new incarnation
# of a killed broker is let in when the session of the old one has ended.
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
"""

PORT_NAMES = ("port", "controller_port", "proxied_port", "proxy_port")


def plan(ports, count):
    """The part of the state for a new cluster; it takes `len(PORT_NAMES)` ports for each broker.

    Who comes to `proxied_port` is told to go to `proxy_port`: there, a test may let a proxy listen.
    """
    brokers = [{"id": number, **{name: next(ports) for name in PORT_NAMES}, "pid": None} for number in range(1, count + 1)]
    bootstrap = ",".join(f"127.0.0.1:{broker['port']}" for broker in brokers)
    # 22 characters for 16 bytes; a first one of our own, because a leading dash would read as an option.
    return {"bootstrap": bootstrap, "cluster": "S" + secrets.token_urlsafe(16)[1:], "brokers": brokers}


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
        settings.write_text(SETTINGS.format(**self.settings, voters=voters, data=data, replicas=replicas,
                                            in_sync=2 if replicas == 3 else 1))
        self.finish([*JAVA, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", self.cluster["cluster"],
                     "-c", str(settings)])

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
