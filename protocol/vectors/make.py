#!/usr/bin/env python3
"""Writes the golden vectors beside this file, from nothing but Python's standard library.

It shares no code with the Rust library, so that agreement of the two means something:
its own CBOR encoder (RFC 8949), HKDF (RFC 5869) and field tables, as docs/PROTOCOL.md gives them.

    python3 make.py            write the files
    python3 make.py --check    fail if a committed file differs from what would be written
"""

import hashlib
import hmac
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
TAG_BYTES = 16
PAYLOAD_MAX_BYTES = 256


# CBOR: unsigned integers, texts, booleans, arrays, maps; shortest heads, definite lengths.

def head(major, value):
    for size, info in ((0, None), (1, 24), (2, 25), (4, 26), (8, 27)):
        if size == 0:
            if value < 24:
                return bytes([major << 5 | value])
        elif value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError(f"{value} does not fit 64 bits")


def cbor(value):
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())
    raise TypeError(type(value))


def hkdf(secret, salt, info, length):
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    out, block, count = b"", b"", 1
    while len(out) < length:
        block = hmac.new(extracted, block + info + bytes([count]), hashlib.sha256).digest()
        out, count = out + block, count + 1
    return out[:length]


def self_test():
    """Published examples: RFC 8949 appendix A, RFC 5869 appendix A.1."""
    for value, expected in (
        (0, "00"), (23, "17"), (24, "1818"), (1000, "1903e8"), (1000000, "1a000f4240"),
        (18446744073709551615, "1bffffffffffffffff"), (-100, "3863"), (True, "f5"), ("IETF", "6449455446"),
        ([1, [2, 3], [4, 5]], "8301820203820405"), ({1: 2, 3: 4}, "a201020304"),
    ):
        assert cbor(value).hex() == expected, value
    okm = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xf0, 0xfa)), 42)
    assert okm.hex().startswith("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")


# The messages' field numbers. A name maps to its key, or to its key and the table of what is nested there.

TOTALS = {"coin_pulses": 0, "credit_pulses": 1, "noise_edges": 2}
PROFILE = {
    "idle_high": 0, "width_min_ms": 1, "width_max_ms": 2, "gap_min_ms": 3, "burst_end_ms": 4, "credit_width_ms": 5,
    "credit_gap_ms": 6,
}
LEARNED = {
    "stage": 0, "command": 1, "coins": 2, "coins_asked": 3, "failure": 4, "profile": (5, PROFILE), "widths_ms": 6,
    "gaps_ms": 7, "coin_pulses": 8, "bounce_us": 9, "noise_edges": 10, "test_pulses": 11, "confirmed": 12,
}
DIAGNOSTICS = {
    "reset_cause": 0, "panic": 1, "uptime_before_s": 2, "bad_tags": 3, "bad_payloads": 4, "flash_failures": 5,
    "flash_writes": 6, "sessions": 7, "modem_restarts": 8, "modem_timeouts": 9, "modem_garbage": 10, "edges_lost": 11,
    "credits_capped": 12, "modem_errors": 13, "links_lost": 14,
}
STATUS = {
    "mark": 0, "online": 1, "uptime_ms": 2, "at_ms": 3, "last_command": 4, "settings_version": 5, "firmware": 6,
    "signal_csq": 7, "supply_mv": 8, "totals": (9, TOTALS), "faults": 10, "locked": 11,
    "learned": (12, LEARNED), "diagnostics": (13, DIAGNOSTICS),
}
PULSE = {
    "mark": 0, "uptime_ms": 1, "at_ms": 2, "pulses": 3, "coin_pulses_total": 4, "width_ms": 5, "gap_ms": 6,
}
ACK = {
    "command": 0, "sequence": 1, "stage": 2, "boot": 3, "uptime_ms": 4, "at_ms": 5, "pulses": 6, "reason": 7,
    "first": 8,
}
SYNC = {"server_ms": 0, "echo_boot": 1, "echo_uptime_ms": 2}
SETTINGS = {
    "version": 0, "profile": (1, PROFILE), "credit_pulses_max": 2, "status_period_s": 3, "sense": 4,
    "credit_pulses_per_minute_max": 5, "keepalive_s": 6, "settle_ms": 7,
}
LEARN = {"coins": 0, "confirm": 1, "test_pulses": 2}
COMMAND = {
    "id": 0, "sequence": 1, "issued_ms": 2, "lifetime_ms": 3, "action": 4, "pulses": 5, "sync": (6, SYNC),
    "settings": (7, SETTINGS), "locked": 8, "learn": (9, LEARN),
}
STAGES = {"received": 1, "done": 2, "failed": 3, "expired": 4, "duplicate": 5, "clock": 6}
REASONS = {
    "power_lost": 1, "locked": 2, "busy": 3, "fault": 4, "unsupported": 5, "too_old": 6, "superseded": 7,
    "invalid": 8, "machine_silent": 9, "flash": 10, "slow_sync": 11,
}
ACTIONS = {
    "probe": 1, "credit": 2, "sync": 3, "settings": 4, "lock": 5, "reboot": 6, "locate": 7, "learn": 8, "diagnose": 9,
}
LEARN_STAGES = {"quiet": 1, "sampling": 2, "confirming": 3, "stored": 4, "failed": 5}
LEARN_FAILURES = {
    "no_coins": 1, "line_stuck": 2, "noise": 3, "uneven": 4, "unconfirmed": 5, "cancelled": 6, "restarted": 7,
    "locked": 8, "fault": 9, "flash": 10, "settings": 11,
}
RESET_CAUSES = {
    "power_on": 1, "brown_out": 2, "reset_pin": 3, "software": 4, "watchdog": 5, "panic": 6, "other": 7,
}
ARRAYS = {
    "mark": ("boot", "session", "sequence"), "widths_ms": ("min", "median", "max"), "gaps_ms": ("min", "median", "max"),
    "coin_pulses": ("min", "median", "max"), "panic": ("file_hash", "line"),
}


def code(table, name, value):
    """The number for a word; a number is a later version's and stays."""
    if table is LEARNED:
        words = {"stage": LEARN_STAGES, "failure": LEARN_FAILURES}.get(name)
    elif table is DIAGNOSTICS:
        words = {"reset_cause": RESET_CAUSES}.get(name)
    else:
        words = {"stage": STAGES, "first": STAGES, "reason": REASONS, "action": ACTIONS}.get(name)
    return words[value] if words and isinstance(value, str) else value


KINDS = {"status": STATUS, "pulse": PULSE, "ack": ACK, "command": COMMAND}


def numbered(table, message):
    """The message with numbers for names, in the order of the numbers."""
    out = {}
    for name, value in message.items():
        key = table[name]
        if isinstance(key, tuple):
            key, nested = key
            value = numbered(nested, value)
        elif name in ARRAYS and isinstance(value, dict):
            value = [value[element] for element in ARRAYS[name]]
        else:
            value = code(table, name, value)
        out[key] = value
    return dict(sorted(out.items()))


def body_of(kind, message):
    if kind == "command":
        message = dict(message)
        message["lifetime_ms"] = message.pop("expires_ms") - message["issued_ms"]
    return numbered(KINDS[kind], message)


# Two modules: one for all vectors, one to be foreign.

MODULE, SECRET = "7K2M9QXW4D", bytes(range(0x20, 0x40))
OTHER_MODULE, OTHER_SECRET = "0123456789", bytes([0xA5] * 32)


def message_key(module=MODULE, secret=SECRET):
    return hkdf(secret, module.encode(), b"coinwire/1/message", 32)


def password(module=MODULE, secret=SECRET):
    return hkdf(secret, module.encode(), b"coinwire/1/mqtt-password", 16).hex()


def topic(kind, module=MODULE):
    return f"m/{module}/{kind}"


def tag(key, at, body):
    return hmac.new(key, at.encode() + b"\0" + body, hashlib.sha256).digest()[:TAG_BYTES]


def vector(name, kind, message, body=None, decode_only=False):
    """A message and its bytes. With `decode_only` the bytes are another's: what they decode to is `message`."""
    body = cbor(body_of(kind, message) if body is None else body)
    at, key = topic(kind), message_key()
    payload = body + tag(key, at, body)
    assert len(payload) <= PAYLOAD_MAX_BYTES, (name, len(payload))
    out = {"name": name, "module": MODULE, "secret_hex": SECRET.hex(), "topic": at}
    if decode_only:
        out["decode_only"] = True
    return out | {
        "message": message, "message_key_hex": key.hex(), "body_hex": body.hex(), "payload_hex": payload.hex(),
    }


def refused(name, kind, payload, error, at=None):
    return {
        "name": name, "module": MODULE, "secret_hex": SECRET.hex(), "topic": at or topic(kind), "kind": kind,
        "message_key_hex": message_key().hex(), "payload_hex": payload.hex(), "error": error,
    }


U8, U16, U32, U64 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
AT_MS = 1_795_392_000_000

STATUS_USUAL = {
    "mark": {"boot": 12, "session": 3, "sequence": 41}, "online": True, "uptime_ms": 86_412_345, "at_ms": AT_MS,
    "last_command": 1207, "settings_version": 4, "firmware": "0.1.0", "signal_csq": 18, "supply_mv": 4012,
    "totals": {"coin_pulses": 48_211, "credit_pulses": 9_034, "noise_edges": 17}, "faults": 0, "locked": False,
}
STATUS_FIRST = {
    "mark": {"boot": 1, "session": 1, "sequence": 1}, "online": True, "uptime_ms": 4210, "last_command": 0,
    "settings_version": 0, "firmware": "0.1.0", "totals": {"coin_pulses": 0, "credit_pulses": 0, "noise_edges": 0},
    "faults": 0,
}
STATUS_WILL = STATUS_FIRST | {"mark": {"boot": 12, "session": 3, "sequence": U32}, "online": False}
STATUS_FAULTS = STATUS_USUAL | {"signal_csq": 99, "supply_mv": 3120, "faults": 0b11111, "locked": True}
STATUS_LARGEST = {
    "mark": {"boot": U32, "session": U32, "sequence": U32}, "online": True, "uptime_ms": U64, "at_ms": U64,
    "last_command": U32, "settings_version": U32, "firmware": "10.20.30-rc.4+0123456789", "signal_csq": U8,
    "supply_mv": U16, "totals": {"coin_pulses": U64, "credit_pulses": U64, "noise_edges": U64}, "faults": U32,
    "locked": True,
}

LEARNED_PROFILE = {
    "idle_high": True, "width_min_ms": 33, "width_max_ms": 72, "gap_min_ms": 25, "burst_end_ms": 180,
    "credit_width_ms": 50, "credit_gap_ms": 50,
}
LEARNED_SAMPLING = {"stage": "sampling", "command": 1210, "coins": 4, "coins_asked": 10, "noise_edges": 2}
LEARNED_STORED = {
    "stage": "stored", "command": 1210, "coins": 10, "coins_asked": 10, "profile": LEARNED_PROFILE,
    "widths_ms": {"min": 43, "median": 49, "max": 58}, "gaps_ms": {"min": 51, "median": 55, "max": 61},
    "coin_pulses": {"min": 2, "median": 2, "max": 40}, "bounce_us": 1250, "noise_edges": 2, "test_pulses": 6,
    "confirmed": True,
}
LEARNED_BUTTON = {"stage": "quiet", "coins": 0, "coins_asked": 10}
LEARNED_LARGEST = {
    "stage": U8, "command": U32, "coins": U8, "coins_asked": U8, "failure": U8,
    "profile": {"idle_high": True} | {name: U16 for name in PROFILE if name != "idle_high"},
    "widths_ms": {"min": U16, "median": U16, "max": U16}, "gaps_ms": {"min": U16, "median": U16, "max": U16},
    "coin_pulses": {"min": U16, "median": U16, "max": U16}, "bounce_us": U16, "noise_edges": U16, "test_pulses": U16,
    "confirmed": True,
}
DIAGNOSTICS_USUAL = {"reset_cause": "power_on", "flash_writes": 412, "sessions": 3, "modem_timeouts": 1}
DIAGNOSTICS_PANIC = {
    "reset_cause": "panic", "panic": {"file_hash": 0x811C9DC5, "line": 217}, "uptime_before_s": 86_400, "sessions": 1,
}
DIAGNOSTICS_LARGEST = {
    "reset_cause": U8, "panic": {"file_hash": U32, "line": U32},
} | {name: U32 for name in DIAGNOSTICS if name not in ("reset_cause", "panic")}

PULSE_USUAL = {
    "mark": {"boot": 12, "session": 3, "sequence": 7}, "uptime_ms": 86_500_120, "at_ms": AT_MS + 87_775, "pulses": 4,
    "coin_pulses_total": 48_215, "width_ms": 51, "gap_ms": 49,
}
PULSE_SINGLE = {
    "mark": {"boot": 1, "session": 1, "sequence": 1}, "uptime_ms": 9_001, "pulses": 1, "coin_pulses_total": 1,
    "width_ms": 102, "gap_ms": 0,
}
PULSE_LARGEST = {
    "mark": {"boot": U32, "session": U32, "sequence": U32}, "uptime_ms": U64, "at_ms": U64, "pulses": U16,
    "coin_pulses_total": U64, "width_ms": U16, "gap_ms": U16,
}

ACK_BASE = {"command": 90_071, "sequence": 1208, "boot": 12, "uptime_ms": 86_600_000, "at_ms": AT_MS + 187_655}


def ack(stage, **fields):
    order = ("command", "sequence", "stage", "boot", "uptime_ms", "at_ms", "pulses", "reason", "first")
    message = ACK_BASE | {"stage": stage} | fields
    return {name: message[name] for name in order if message.get(name) is not None}


ACK_LARGEST = {
    "command": U64, "sequence": U32, "stage": U8, "boot": U32, "uptime_ms": U64, "at_ms": U64, "pulses": U16,
    "reason": U8, "first": U8,
}

SETTINGS_USUAL = {
    "version": 4,
    "profile": {
        "idle_high": True, "width_min_ms": 15, "width_max_ms": 600, "gap_min_ms": 15, "burst_end_ms": 300,
        "credit_width_ms": 50, "credit_gap_ms": 50,
    },
    "credit_pulses_max": 50, "status_period_s": 1800, "sense": False,
}
SETTINGS_LARGEST = {
    "version": U32,
    "profile": {
        "idle_high": False, "width_min_ms": U16, "width_max_ms": U16, "gap_min_ms": U16, "burst_end_ms": U16,
        "credit_width_ms": U16, "credit_gap_ms": U16,
    },
    "credit_pulses_max": U16, "status_period_s": U16, "sense": True, "credit_pulses_per_minute_max": U16,
    "keepalive_s": U16, "settle_ms": U16,
}
SYNC_USUAL = {"server_ms": AT_MS, "echo_boot": 12, "echo_uptime_ms": 4210}
SYNC_LARGEST = {"server_ms": U64, "echo_boot": U32, "echo_uptime_ms": U64}


def command(action, lifetime_ms=60_000, **fields):
    return {
        "id": 90_071, "sequence": 1208, "issued_ms": AT_MS, "expires_ms": AT_MS + lifetime_ms, "action": action,
    } | fields


def command_largest(action, **fields):
    return {
        "id": U64, "sequence": U32, "issued_ms": U64 - U32, "expires_ms": U64, "action": action,
    } | fields


def statuses():
    yield vector("usual", "status", STATUS_USUAL)
    yield vector("first, clock not set, optional fields absent", "status", STATUS_FIRST)
    yield vector("will", "status", STATUS_WILL)
    yield vector("all faults, locked, signal unknown", "status", STATUS_FAULTS)
    yield vector("largest", "status", STATUS_LARGEST)
    body = body_of("status", STATUS_USUAL)
    yield vector("unknown fields of every CBOR kind", "status", STATUS_USUAL, body | {
        24: 1, 25: -7, 26: b"\x00\xff", 27: "later", 28: [1, [2]], 29: {1: {2: [True]}}, 70_000: False,
    }, True)
    later = body | {0: body[0] + [9, "x"], 9: body[9] | {30: 5}}
    yield vector("unknown elements of mark, unknown fields of totals", "status", STATUS_USUAL, later, True)
    yield vector("learning: quiet, begun by the button", "status", STATUS_USUAL | {"learned": LEARNED_BUTTON})
    yield vector("learning: sampling", "status", STATUS_USUAL | {"learned": LEARNED_SAMPLING})
    yield vector("learning: confirming", "status", STATUS_USUAL | {"learned": {
        name: value for name, value in LEARNED_STORED.items() if name != "confirmed"
    } | {"stage": "confirming"}})
    yield vector("learning: stored", "status", STATUS_USUAL | {"learned": LEARNED_STORED})
    for failure in LEARN_FAILURES:
        yield vector(f"learning failed: {failure}", "status", STATUS_USUAL | {"learned": LEARNED_SAMPLING | {
            "stage": "failed", "failure": failure,
        }})
    yield vector("learning: largest; unknown stage and failure", "status", STATUS_LARGEST | {
        "learned": LEARNED_LARGEST,
    })
    yield vector("diagnostics", "status", STATUS_USUAL | {"diagnostics": DIAGNOSTICS_USUAL})
    yield vector("diagnostics after a panic", "status", STATUS_USUAL | {"diagnostics": DIAGNOSTICS_PANIC})
    for cause in RESET_CAUSES:
        yield vector(f"diagnostics: {cause}", "status", STATUS_USUAL | {"diagnostics": {"reset_cause": cause}})
    yield vector("diagnostics with nothing to say", "status", STATUS_USUAL | {"diagnostics": {}})
    yield vector("diagnostics: largest; unknown cause", "status", STATUS_LARGEST | {"diagnostics": DIAGNOSTICS_LARGEST})
    both = STATUS_USUAL | {"learned": LEARNED_STORED, "diagnostics": DIAGNOSTICS_USUAL}
    nested = body_of("status", both)
    nested[12] = nested[12] | {6: [43, 49, 58, 7], 30: 1}
    nested[13] = nested[13] | {3: 0, 200: {0: [1]}}
    yield vector("unknown fields of what is learned and of diagnostics, a zero written out, and both in one", "status",
                 both, nested, True)
    yield vector("firmware longer than its limit is cut", "status",
                 STATUS_USUAL | {"firmware": "x" * 24}, body | {6: "x" * 40}, True)


def pulses():
    yield vector("usual", "pulse", PULSE_USUAL)
    yield vector("single pulse, clock not set", "pulse", PULSE_SINGLE)
    yield vector("largest", "pulse", PULSE_LARGEST)
    yield vector("unknown field", "pulse", PULSE_USUAL, body_of("pulse", PULSE_USUAL) | {40: {0: [1, 2]}}, True)


def acks():
    yield vector("received", "ack", ack("received"))
    yield vector("done with pulses", "ack", ack("done", pulses=4))
    yield vector("done without pulses (probe)", "ack", ack("done"))
    for reason in REASONS:
        given = {"power_lost": 2, "machine_silent": 4}.get(reason, 0 if reason == "flash" else None)
        yield vector(f"failed: {reason}", "ack", ack("failed", reason=reason, pulses=given))
    yield vector("expired", "ack", ack("expired"))
    yield vector("duplicate of done", "ack", ack("duplicate", first="done", pulses=4))
    yield vector("duplicate of failed", "ack", ack("duplicate", first="failed", reason="power_lost", pulses=2))
    yield vector("clock", "ack", ack("clock", at_ms=None))
    yield vector("largest; unknown stage, reason and first", "ack", ACK_LARGEST)
    yield vector("unknown stage", "ack", ack(7))
    yield vector("unknown reason", "ack", ack("failed", reason=12))
    yield vector("unknown field", "ack", ack("received"), body_of("ack", ack("received")) | {23: "later"}, True)


def commands():
    yield vector("probe", "command", command("probe", 5_000))
    yield vector("credit", "command", command("credit", pulses=4))
    yield vector("sync", "command", command("sync", 10_000, sync=SYNC_USUAL))
    yield vector("settings", "command", command("settings", 3_600_000, settings=SETTINGS_USUAL))
    yield vector("lock", "command", command("lock", locked=True))
    yield vector("unlock", "command", command("lock", locked=False))
    yield vector("reboot", "command", command("reboot"))
    yield vector("locate", "command", command("locate"))
    yield vector("learn", "command", command("learn", learn={"coins": 10, "confirm": True}))
    yield vector("learn without confirming", "command", command("learn", learn={"coins": 50, "confirm": False}))
    yield vector("learn, two pulses a credit", "command", command("learn", learn={
        "coins": 12, "confirm": True, "test_pulses": 2,
    }))
    yield vector("learn no longer", "command", command("learn", learn={"coins": 0, "confirm": False}))
    yield vector("diagnose", "command", command("diagnose"))
    yield vector("settings with a cap per minute", "command", command("settings", 3_600_000, settings=SETTINGS_USUAL | {
        "credit_pulses_per_minute_max": 120,
    }))
    yield vector("settings with a keepalive", "command", command("settings", 3_600_000, settings=SETTINGS_USUAL | {
        "keepalive_s": 240,
    }))
    yield vector("settings with a time to settle", "command", command("settings", 3_600_000, settings=SETTINGS_USUAL | {
        "settle_ms": 5_000,
    }))
    yield vector("unknown action", "command", command(10))
    yield vector("unknown action, largest code", "command", command(U8))
    yield vector("largest credit", "command", command_largest("credit", pulses=U16))
    yield vector("largest sync", "command", command_largest("sync", sync=SYNC_LARGEST))
    yield vector("largest learn", "command", command_largest("learn", learn={
        "coins": U8, "confirm": True, "test_pulses": U8,
    }))
    yield vector("largest settings", "command", command_largest("settings", settings=SETTINGS_LARGEST))
    credit = command("credit", pulses=4)
    yield vector("unknown field", "command", credit, body_of("command", credit) | {23: "later", 200: [1]}, True)
    unknown = command(10)
    yield vector("unknown action with a value of its own", "command", unknown,
                 body_of("command", unknown) | {10: {0: 1}}, True)
    settings = command("settings", settings=SETTINGS_USUAL)
    body = body_of("command", settings)
    body[7] = body[7] | {1: body[7][1] | {7: 3}, 8: True}
    yield vector("unknown fields of settings and profile", "command", settings, body, True)
    yield vector("value of another action is ignored", "command", command("probe"),
                 body_of("command", command("probe")) | {5: 4}, True)
    late = command("credit", pulses=4) | {"issued_ms": U64 - 10, "expires_ms": U64}
    yield vector("expiry beyond 64 bits stays at the end of time", "command", late,
                 body_of("command", late) | {3: 60_000}, True)


def refusals():
    body = cbor(body_of("command", command("credit", pulses=4)))
    at, key = topic("command"), message_key()
    good = body + tag(key, at, body)
    signed = lambda raw: raw + tag(key, at, raw)

    yield refused("tag with one bit flipped", "command", good[:-1] + bytes([good[-1] ^ 1]), "tag")
    yield refused("body with one bit flipped", "command", bytes([good[0] ^ 1]) + good[1:], "tag")
    yield refused("tag of zeros", "command", body + bytes(TAG_BYTES), "tag")
    yield refused("no tag", "command", body, "tag")
    yield refused("last byte missing", "command", good[:-1], "tag")
    yield refused("a byte behind the tag", "command", good + b"\0", "tag")
    yield refused("tag not cut to 16 bytes", "command",
                  body + hmac.new(key, at.encode() + b"\0" + body, hashlib.sha256).digest(), "tag")
    yield refused("signed without the zero byte", "command",
                  body + hmac.new(key, at.encode() + body, hashlib.sha256).digest()[:TAG_BYTES], "tag")
    yield refused("signed with the secret itself", "command", body + tag(SECRET, at, body), "tag")
    yield refused("signed with another module's key", "command",
                  body + tag(message_key(OTHER_MODULE, OTHER_SECRET), at, body), "tag")
    yield refused("signed with a key salted by another id", "command",
                  body + tag(message_key(OTHER_MODULE, SECRET), at, body), "tag")
    yield refused("played under another module's topic", "command", good, "tag", topic("command", OTHER_MODULE))
    yield refused("played under another topic of the module", "command", good, "tag", topic("ack"))
    yield refused("empty", "command", b"", "length")
    yield refused("shorter than a tag", "command", good[:TAG_BYTES - 1], "length")
    yield refused("longer than the largest payload", "command",
                  signed(body + bytes(PAYLOAD_MAX_BYTES - TAG_BYTES + 1 - len(body))), "length")
    yield refused("signed, empty body", "command", signed(b""), "body")
    yield refused("signed, a byte behind the map", "command", signed(body + b"\0"), "body")
    yield refused("signed, the map again behind the map", "command", signed(body + body), "body")
    yield refused("signed, body cut short", "command", signed(body[:-1]), "body")
    yield refused("signed, no map", "command", signed(cbor([1, 2])), "body")
    yield refused("signed, names for keys", "command", signed(cbor({"id": 1})), "body")
    yield refused("signed, map head of 2^64-1 entries", "command", signed(b"\xbb" + b"\xff" * 8 + b"\0\0"), "body")
    fields = body_of("command", command("credit", pulses=4))
    for name, key_number in COMMAND.items():
        key_number = key_number[0] if isinstance(key_number, tuple) else key_number
        if key_number in fields:
            without = {k: v for k, v in fields.items() if k != key_number}
            yield refused(f"signed, credit without {name}", "command", signed(cbor(without)), "body")
    for action in ("sync", "settings", "lock", "learn"):
        yield refused(f"signed, {action} without its value", "command",
                      signed(cbor(body_of("command", command(action)))), "body")
    yield refused("signed, sequence beyond 32 bits", "command", signed(cbor(fields | {1: U32 + 1})), "body")
    yield refused("signed, negative sequence", "command", signed(cbor(fields | {1: -1})), "body")
    yield refused("signed, pulses as text", "command", signed(cbor(fields | {5: "4"})), "body")
    yield refused("signed, action beyond 8 bits", "command", signed(cbor(fields | {4: 256})), "body")

    status, at_status = body_of("status", STATUS_USUAL), topic("status")
    bad_text = cbor(status).replace(cbor("0.1.0"), b"\x65\xff.1.0")
    for name, raw in (
        ("signed, firmware not UTF-8", bad_text),
        ("signed, mark too short", cbor(status | {0: [1, 2]})),
        ("signed, mark as map", cbor(status | {0: {0: 1, 1: 2, 2: 3}})),
        ("signed, online as number", cbor(status | {1: 1})),
    ):
        yield refused(name, "status", raw + tag(key, at_status, raw), "body")


def keys():
    for module, secret in (
        (MODULE, SECRET), (OTHER_MODULE, OTHER_SECRET), (MODULE, bytes(32)), ("ZZZZZZZZZZ", bytes([0xFF] * 32)),
    ):
        yield {
            "module": module, "secret_hex": secret.hex(),
            "message_key_hex": message_key(module, secret).hex(), "mqtt_password": password(module, secret),
        }


FILES = {
    "keys.json": keys, "status.json": statuses, "pulse.json": pulses, "ack.json": acks, "command.json": commands,
    "refused.json": refusals,
}


def main():
    self_test()
    stale = []
    for name, vectors in FILES.items():
        text = json.dumps(list(vectors()), indent=2) + "\n"
        path = HERE / name
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not as make.py writes them: {', '.join(stale)}")


if __name__ == "__main__":
    main()
