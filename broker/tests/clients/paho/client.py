"""What users of paho do with a broker, and what they must see: run by `cargo test -p broker --test families`.

The broker has the logins of `broker/tests/common`: `anna` and `ben` publish to `t/#` and `wo/#` and subscribe within
`t/#` and `ro/#`; `banned` is known and refused; the password is `pw`. The first thing that is not as it must be ends the
program with what was expected and what came.
"""

import argparse
import os
import queue
import socket
import ssl
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PATIENCE_S = 20
PASSWORD = "pw"
KEPT_S = 300
MANY = 1_000
LARGE_BYTES = 60 * 1024

BAD_CREDENTIALS = 134
NOT_AUTHORIZED = 135
TAKEN_OVER = 142
IDENTIFIER_NOT_FOUND = 146
REFUSED_V311 = 128


def expect(what, expected, got):
    if expected != got:
        raise SystemExit(f"{what}: expected {expected!r}, got {got!r}")


def properties(of, **values):
    made = Properties(of)
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Peer:
    """One client, with what happened to it in queues to wait on."""

    def __init__(self, client_id, user="anna", password=PASSWORD, keep=False, will=None):
        self.keep = keep
        self.messages = queue.Queue()
        self._connected, self._disconnected = queue.Queue(), queue.Queue()
        self._subscribed, self._published = queue.Queue(), queue.Queue()
        self._mqtt = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            # MQTT 5 says so when it connects.
            clean_session=None if V5 else not keep,
            protocol=mqtt.MQTTv5 if V5 else mqtt.MQTTv311,
            transport="websockets" if ARGS.transport == "ws" else "tcp",
            reconnect_on_failure=False,
        )
        self._mqtt.username_pw_set(user, password)
        if will is not None:
            self._mqtt.will_set(will[0], will[1], qos=1)
        if ARGS.transport == "tls":
            self._mqtt.tls_set(ca_certs=ARGS.ca, cert_reqs=ssl.CERT_REQUIRED)
        self._mqtt.on_connect = lambda _c, _u, flags, code, _p: self._connected.put((code, flags.session_present))
        self._mqtt.on_disconnect = lambda _c, _u, _flags, code, _p: self._disconnected.put(code)
        self._mqtt.on_subscribe = lambda _c, _u, mid, codes, _p: self._subscribed.put((mid, codes))
        self._mqtt.on_publish = lambda _c, _u, mid, code, _p: self._published.put((mid, code))
        self._mqtt.on_message = lambda _c, _u, message: self.messages.put(message)

    def connect(self):
        """Connects; the code of the answer and whether there was a session."""
        more = {}
        if V5:
            more["clean_start"] = not self.keep
            more["properties"] = properties(PacketTypes.CONNECT, SessionExpiryInterval=KEPT_S if self.keep else 0)
        self._mqtt.connect(ARGS.host, ARGS.port, keepalive=60, **more)
        self._mqtt.loop_start()
        code, session_present = self._take("CONNACK", self._connected)
        return code.value, session_present

    def connected(self, session_present=False):
        expect("CONNACK: code, session present", (0, session_present), self.connect())
        return self

    def subscribe(self, entries, **values):
        """Subscribes to (filter, QoS or options) pairs; the codes."""
        more = {"properties": properties(PacketTypes.SUBSCRIBE, **values)} if values else {}
        error, mid = self._mqtt.subscribe(entries, **more)
        expect("subscribe", mqtt.MQTT_ERR_SUCCESS, error)
        got_mid, codes = self._take("SUBACK", self._subscribed)
        expect("SUBACK's packet identifier", mid, got_mid)
        return [code.value for code in codes]

    def subscribed(self, filter, qos):
        expect(f"SUBACK of {filter}", [qos], self.subscribe([(filter, qos)]))

    def unsubscribe(self, filter):
        done = queue.Queue()
        self._mqtt.on_unsubscribe = lambda *_: done.put(())
        self._mqtt.unsubscribe(filter)
        self._take("UNSUBACK", done)

    def send(self, topic, payload, qos, retain=False, **values):
        """Publishes without waiting for the answer."""
        more = {"properties": properties(PacketTypes.PUBLISH, **values)} if values else {}
        return self._mqtt.publish(topic, payload, qos, retain, **more).mid

    def publish(self, topic, payload, qos=1, retain=False, **values):
        """Publishes; the code of the answer."""
        mid = self.send(topic, payload, qos, retain, **values)
        got_mid, code = self._take(f"the answer to a publish to {topic}", self._published)
        expect("the packet identifier answered", mid, got_mid)
        return code.value

    def published(self, count):
        """Waits until so many publishes were answered, each well."""
        for _ in range(count):
            _, code = self._take("the answer to a publish", self._published)
            expect("the answer to a publish", 0, code.value)

    def receive(self, topic, payload, qos, retain=False):
        """The next message, which must be this one."""
        message = self._take(f"a message on {topic}", self.messages)
        got = (message.topic, message.payload[:80], message.qos, message.retain)
        expect("message: topic, payload, QoS, retain", (topic, payload[:80], qos, retain), got)
        expect(f"the whole payload on {topic}", True, message.payload == payload)
        return message

    def nothing_came(self):
        """A message sent now is the next to come: there was none before it."""
        marker = str(time.monotonic_ns()).encode()
        self.subscribed("t/marker", 1)
        expect("the marker's PUBACK", 0, self.publish("t/marker", marker))
        self.receive("t/marker", marker, 1)
        self.unsubscribe("t/marker")

    def disconnected(self):
        """Waits for the end of the connection; the reason."""
        code = self._take("the end of the connection", self._disconnected)
        self._mqtt.loop_stop()
        return code.value

    def cut(self):
        """Breaks the connection as a lost network does, without a word."""
        line = socket.socket(fileno=os.dup(self._mqtt.socket().fileno()))
        line.shutdown(socket.SHUT_RDWR)
        line.close()
        self.disconnected()

    def close(self):
        self._mqtt.disconnect()
        expect("the reason of one's own goodbye", 0, self.disconnected())

    def _take(self, what, where):
        try:
            return where.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise SystemExit(f"{what}: nothing came within {PATIENCE_S} s") from None


def wrong_logins_are_refused_with_their_code():
    # paho shows the codes of 3.1.1, 4 and 5, as their equals of MQTT 5.
    for user, password, code in [("anna", "guess", BAD_CREDENTIALS), ("banned", PASSWORD, NOT_AUTHORIZED)]:
        expect(f"CONNACK for {user}", (code, False), Peer("wrong", user, password).connect())


def every_qos_arrives_as_the_lower_of_both():
    anna, ben = Peer("anna-1").connected(), Peer("ben-1", "ben").connected()
    filters = [("t/0/+", 0), ("t/1/#", 1), ("t/+/x/+", 2), ("v1/#", 1)]
    refused = NOT_AUTHORIZED if V5 else REFUSED_V311
    expect("SUBACK", [0, 1, 2, refused], anna.subscribe(filters))
    for topic, granted in [("t/0/x", 0), ("t/1/x/y", 2), ("t/2/x/y", 2), ("t/1", 1)]:
        for qos in [0, 1, 2]:
            payload = f"{topic} {qos} \u00e9\x00".encode()
            expect(f"the answer to {payload}", 0, ben.publish(topic, payload, qos))
            anna.receive(topic, payload, min(qos, granted))
    anna.unsubscribe("t/0/+")
    ben.publish("t/0/x", b"unheard")
    anna.nothing_came()
    anna.close()
    ben.close()


def what_is_retained_meets_the_late_and_can_be_cleared():
    ben = Peer("ben-2", "ben").connected()
    expect("PUBACK", 0, ben.publish("t/kept", b"first", retain=True))
    expect("PUBACK", 0, ben.publish("t/kept", b"last", retain=True))
    early = Peer("early").connected()
    early.subscribed("t/kept", 1)
    early.receive("t/kept", b"last", 1, retain=True)
    expect("PUBACK", 0, ben.publish("t/kept", b"", retain=True))
    early.receive("t/kept", b"", 1)
    late = Peer("late").connected()
    late.subscribed("t/kept", 1)
    late.nothing_came()
    for peer in [ben, early, late]:
        peer.close()


def a_will_is_left_by_the_broken_and_not_by_who_said_goodbye():
    anna = Peer("anna-3").connected()
    anna.subscribed("t/will", 1)
    Peer("polite", "ben", will=("t/will", b"unsaid")).connected().close()
    anna.nothing_came()
    Peer("broken", "ben", will=("t/will", b"gone")).connected().cut()
    anna.receive("t/will", b"gone", 1)
    anna.close()


def what_is_not_granted_is_not_published():
    anna, ben = Peer("anna-4").connected(), Peer("ben-4", "ben").connected()
    anna.subscribed("ro/#", 1)
    if V5:
        expect("PUBACK", NOT_AUTHORIZED, ben.publish("ro/x", b"x", 1))
        # paho takes no notice of a PUBREC's reason: it sends PUBREL all the same, and is told there is nothing to release.
        expect("PUBCOMP", IDENTIFIER_NOT_FOUND, ben.publish("ro/x", b"x", 2))
        ben.close()
    else:
        # 3.1.1 has no word for it.
        ben.send("ro/x", b"x", 1)
        expect("an end that was not asked for", True, ben.disconnected() != 0)
    anna.nothing_came()
    anna.close()


def a_kept_session_queues_while_its_client_is_away():
    anna = Peer("keeper", keep=True).connected()
    anna.subscribed("t/away/#", 2)
    anna.cut()
    ben = Peer("ben-5", "ben").connected()
    for qos in [1, 2]:
        expect("the answer", 0, ben.publish(f"t/away/{qos}", b"waited", qos))
    anna = Peer("keeper", keep=True).connected(session_present=True)
    for qos in [1, 2]:
        anna.receive(f"t/away/{qos}", b"waited", qos)
    ben.publish("t/away/now", b"at once")
    anna.receive("t/away/now", b"at once", 1)
    anna.close()
    Peer("keeper").connected(session_present=False).close()
    ben.close()


def a_large_packet_passes_whole():
    anna = Peer("anna-6").connected()
    anna.subscribed("t/large", 1)
    payload = bytes(number % 251 for number in range(LARGE_BYTES))
    expect("PUBACK", 0, anna.publish("t/large", payload))
    anna.receive("t/large", payload, 1)
    anna.close()


def many_arrive_once_and_in_order():
    anna, ben = Peer("anna-7").connected(), Peer("ben-7", "ben").connected()
    anna.subscribed("t/many", 1)
    for number in range(MANY):
        ben.send("t/many", str(number), 1)
    for number in range(MANY):
        anna.receive("t/many", str(number).encode(), 1)
    ben.published(MANY)
    anna.nothing_came()
    anna.close()
    ben.close()


def properties_pass_through():
    anna, ben = Peer("anna-8").connected(), Peer("ben-8", "ben").connected()
    for filter, identifier in [("t/asked/#", 7), ("t/asked/+", 300_000)]:
        codes = anna.subscribe([(filter, SubscribeOptions(qos=1))], SubscriptionIdentifier=identifier)
        expect("SUBACK", [1], codes)
    sent = {
        "UserProperty": [("key", "first"), ("key", "second"), ("\u00e9", "")],
        "ResponseTopic": "t/answer",
        "CorrelationData": b"\x00\xff17",
        "ContentType": "application/json",
        "PayloadFormatIndicator": 1,
    }
    expect("PUBACK", 0, ben.publish("t/asked/x", b"{}", MessageExpiryInterval=600, **sent))
    got = anna.receive("t/asked/x", b"{}", 1).properties
    for name, value in sent.items():
        expect(name, value, getattr(got, name, None))
    expect("some of 600 s is left", True, 500 <= got.MessageExpiryInterval <= 600)
    expect("SubscriptionIdentifier", [7, 300_000], sorted(got.SubscriptionIdentifier))
    anna.close()
    ben.close()


def what_expired_is_not_delivered():
    anna = Peer("sleeper", keep=True).connected()
    anna.subscribed("t/brief", 1)
    anna.cut()
    ben = Peer("ben-9", "ben").connected()
    expect("PUBACK", 0, ben.publish("t/brief", b"too late", MessageExpiryInterval=1))
    expect("PUBACK", 0, ben.publish("t/brief", b"in time", MessageExpiryInterval=600))
    time.sleep(1.5)
    anna = Peer("sleeper", keep=True).connected(session_present=True)
    anna.receive("t/brief", b"in time", 1)
    anna.close()
    Peer("sleeper").connected().close()
    ben.close()


def subscription_options_are_heeded():
    anna, ben = Peer("anna-10").connected(), Peer("ben-10", "ben").connected()
    expect("SUBACK", [1], anna.subscribe([("t/own", SubscribeOptions(qos=1, noLocal=True))]))
    anna.publish("t/own", b"from anna")
    ben.publish("t/own", b"from ben")
    anna.receive("t/own", b"from ben", 1)

    ben.publish("t/kept", b"kept", retain=True)
    once, never = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB, SubscribeOptions.RETAIN_DO_NOT_SEND
    anna.subscribe([("t/kept", SubscribeOptions(qos=1, retainHandling=never))])
    anna.nothing_came()
    anna.unsubscribe("t/kept")
    options = SubscribeOptions(qos=1, retainHandling=once, retainAsPublished=True)
    anna.subscribe([("t/kept", options)])
    anna.receive("t/kept", b"kept", 1, retain=True)
    anna.subscribe([("t/kept", options)])
    anna.nothing_came()
    ben.publish("t/kept", b"", retain=True)
    anna.receive("t/kept", b"", 1, retain=True)
    anna.close()
    ben.close()


def an_alias_stands_for_its_topic():
    anna = Peer("anna-11").connected()
    anna.subscribed("t/a/long/topic", 1)
    expect("PUBACK", 0, anna.publish("t/a/long/topic", b"named", TopicAlias=3))
    anna.receive("t/a/long/topic", b"named", 1)
    expect("PUBACK", 0, anna.publish("", b"by alias", TopicAlias=3))
    anna.receive("t/a/long/topic", b"by alias", 1)
    anna.close()


def whoever_is_taken_over_is_told():
    first = Peer("one-of-two", keep=True).connected()
    second = Peer("one-of-two", keep=True).connected(session_present=True)
    code = first.disconnected()
    if V5:
        expect("the reason of the DISCONNECT", TAKEN_OVER, code)
    else:
        expect("an end that was not asked for", True, code != 0)
    second.nothing_came()
    second.close()


OF_BOTH = [
    wrong_logins_are_refused_with_their_code,
    every_qos_arrives_as_the_lower_of_both,
    what_is_retained_meets_the_late_and_can_be_cleared,
    a_will_is_left_by_the_broken_and_not_by_who_said_goodbye,
    what_is_not_granted_is_not_published,
    a_kept_session_queues_while_its_client_is_away,
    a_large_packet_passes_whole,
    many_arrive_once_and_in_order,
    whoever_is_taken_over_is_told,
]
OF_V5 = [
    properties_pass_through,
    what_expired_is_not_delivered,
    subscription_options_are_heeded,
    an_alias_stands_for_its_topic,
]

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--host", required=True)
PARSER.add_argument("--port", type=int, required=True)
PARSER.add_argument("--transport", choices=["tcp", "tls", "ws"], required=True)
PARSER.add_argument("--version", choices=["3.1.1", "5"], required=True)
PARSER.add_argument("--ca", help="issuer of the broker's certificate, PEM")
ARGS = PARSER.parse_args()
V5 = ARGS.version == "5"

for case in OF_BOTH + (OF_V5 if V5 else []):
    print(case.__name__.replace("_", " "), flush=True)
    case()
