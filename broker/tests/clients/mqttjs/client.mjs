// What users of MQTT.js do with a broker, and what they must see: run by `cargo test -p broker --test families`.
//
// The broker has the logins of `broker/tests/common`: `anna` and `ben` publish to `t/#` and `wo/#` and subscribe within
// `t/#` and `ro/#`; `banned` is known and refused; the password is `pw`. The first thing that is not as it must be ends
// the program with what was expected and what came.

import { deepStrictEqual } from "node:assert";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import mqtt from "mqtt";

const PATIENCE_MS = 20_000;
const PASSWORD = "pw";
const KEPT_S = 300;
const MANY = 1_000;
const LARGE_BYTES = 60 * 1024;

const SCHEMES = { tcp: "mqtt", tls: "mqtts", ws: "ws" };
const { values: args } = parseArgs({
  options: {
    host: { type: "string" },
    port: { type: "string" },
    transport: { type: "string" },
    version: { type: "string" },
    ca: { type: "string" },
  },
});
const isV5 = args.version === "5";
if (!(args.transport in SCHEMES) || !args.host || !args.port || !["3.1.1", "5"].includes(args.version)) {
  throw new Error("usage: client.mjs --host H --port P --transport tcp|tls|ws --version 3.1.1|5 [--ca FILE]");
}

// Refusals, in the words of either version.
const BAD_CREDENTIALS = isV5 ? 134 : 4;
const BANNED = isV5 ? 135 : 5;
const NOT_AUTHORIZED = 135;
const SUBSCRIPTION_REFUSED = isV5 ? NOT_AUTHORIZED : 128;
const TAKEN_OVER = 142;

function expect(what, expected, got) {
  try {
    deepStrictEqual(got, expected);
  } catch {
    const shown = (value) => JSON.stringify(value)?.slice(0, 300);
    throw new Error(`${what}: expected ${shown(expected)}, got ${shown(got)}`);
  }
}

function within(what, promise) {
  const tooLate = sleep(PATIENCE_MS, undefined, { ref: false }).then(() => {
    throw new Error(`${what}: nothing came within ${PATIENCE_MS} ms`);
  });
  return Promise.race([promise, tooLate]);
}

/** Things to wait for, in order. */
class Queue {
  #things = [];
  #waiting = [];

  put(thing) {
    const next = this.#waiting.shift();
    if (next) next(thing);
    else this.#things.push(thing);
  }

  take(what) {
    if (this.#things.length > 0) return this.#things.shift();
    return within(what, new Promise((resolve) => this.#waiting.push(resolve)));
  }
}

/** One client, with what happened to it in queues to wait on. */
class Peer {
  #client;
  #connacks = new Queue();
  #subacks = new Queue();
  #messages = new Queue();
  #ends = new Queue();
  #reason = 0;

  constructor(clientId, { user = "anna", password = PASSWORD, keep = false, will, ...more } = {}) {
    const properties = isV5 ? { sessionExpiryInterval: keep ? KEPT_S : 0 } : undefined;
    this.#client = mqtt.connect(`${SCHEMES[args.transport]}://${args.host}:${args.port}`, {
      clientId,
      username: user,
      password,
      clean: !keep,
      protocolVersion: isV5 ? 5 : 4,
      reconnectPeriod: 0,
      ca: args.transport === "tls" ? readFileSync(args.ca) : undefined,
      will: will && { topic: will[0], payload: Buffer.from(will[1]), qos: 1, retain: false },
      properties,
      ...more,
    });
    this.#client.on("connect", ({ sessionPresent }) => this.#connacks.put([0, sessionPresent]));
    this.#client.on("error", (error) => this.#connacks.put([error.code ?? error.message, false]));
    this.#client.on("disconnect", ({ reasonCode }) => (this.#reason = reasonCode));
    this.#client.on("close", () => this.#ends.put(this.#reason));
    this.#client.on("packetreceive", (packet) => {
      if (packet.cmd === "suback") this.#subacks.put(packet.granted);
    });
    this.#client.on("message", (topic, payload, packet) => this.#messages.put({ topic, payload, packet }));
  }

  /** The code of the CONNACK, and whether there was a session. */
  async answered() {
    return await this.#connacks.take("CONNACK");
  }

  async connected(sessionPresent = false) {
    expect("CONNACK: code, session present", [0, sessionPresent], await this.answered());
    return this;
  }

  /** Subscribes; the codes of the SUBACK. */
  async subscribe(filters, options) {
    // The library fails if any filter was refused: the codes are what is asked for.
    this.#client.subscribe(filters, options, () => {});
    return [...(await this.#subacks.take("SUBACK"))];
  }

  async subscribed(filter, qos) {
    expect(`SUBACK of ${filter}`, [qos], await this.subscribe({ [filter]: { qos } }));
  }

  async unsubscribe(filter) {
    await within("UNSUBACK", this.#client.unsubscribeAsync(filter));
  }

  /** Publishes; the code of the answer. */
  async publish(topic, payload, { qos = 1, retain = false, properties } = {}) {
    const answered = this.#client.publishAsync(topic, payload, { qos, retain, properties }).then(
      () => 0,
      (error) => error.code ?? error.message,
    );
    return await within(`the answer to a publish to ${topic}`, answered);
  }

  /** The next message, which must be this one; its packet. */
  async receive(topic, payload, { qos = 1, retain = false } = {}) {
    const came = await this.#messages.take(`a message on ${topic}`);
    const got = [came.topic, came.packet.qos, came.packet.retain, came.payload.subarray(0, 80).toString()];
    const wanted = Buffer.from(payload);
    expect("topic, QoS, retain, payload", [topic, qos, retain, wanted.subarray(0, 80).toString()], got);
    expect(`the whole payload on ${topic}`, true, wanted.equals(came.payload));
    return came.packet;
  }

  /** A message sent now is the next to come: there was none before it. */
  async nothingCame() {
    const marker = process.hrtime.bigint().toString();
    await this.subscribed("t/marker", 1);
    expect("the marker's PUBACK", 0, await this.publish("t/marker", marker));
    await this.receive("t/marker", marker);
    await this.unsubscribe("t/marker");
  }

  /** Waits for the end of the connection; the reason in the DISCONNECT, 0 without one. */
  async disconnected() {
    return await this.#ends.take("the end of the connection");
  }

  /** Breaks the connection as a lost network does, without a word. */
  async cut() {
    this.#client.stream.destroy();
    await this.disconnected();
  }

  async close() {
    await within("the end", this.#client.endAsync());
  }
}

async function wrongLoginsAreRefusedWithTheirCode() {
  for (const [user, password, code] of [["anna", "guess", BAD_CREDENTIALS], ["banned", PASSWORD, BANNED]]) {
    const peer = new Peer("wrong", { user, password });
    expect(`CONNACK for ${user}`, [code, false], await peer.answered());
  }
}

async function everyQosArrivesAsTheLowerOfBoth() {
  const [anna, ben] = [await new Peer("anna-1").connected(), await new Peer("ben-1", { user: "ben" }).connected()];
  const filters = { "t/0/+": { qos: 0 }, "t/1/#": { qos: 1 }, "t/+/x/+": { qos: 2 }, "v1/#": { qos: 1 } };
  expect("SUBACK", [0, 1, 2, SUBSCRIPTION_REFUSED], await anna.subscribe(filters));
  for (const [topic, granted] of [["t/0/x", 0], ["t/1/x/y", 2], ["t/2/x/y", 2], ["t/1", 1]]) {
    for (const qos of [0, 1, 2]) {
      const payload = `${topic} ${qos} \u00e9\0`;
      expect(`the answer to ${payload}`, 0, await ben.publish(topic, payload, { qos }));
      await anna.receive(topic, payload, { qos: Math.min(qos, granted) });
    }
  }
  await anna.unsubscribe("t/0/+");
  await ben.publish("t/0/x", "unheard");
  await anna.nothingCame();
  await anna.close();
  await ben.close();
}

async function whatIsRetainedMeetsTheLateAndCanBeCleared() {
  const ben = await new Peer("ben-2", { user: "ben" }).connected();
  const kept = { retain: true };
  expect("PUBACK", 0, await ben.publish("t/kept", "first", kept));
  expect("PUBACK", 0, await ben.publish("t/kept", "last", kept));
  const early = await new Peer("early").connected();
  await early.subscribed("t/kept", 1);
  await early.receive("t/kept", "last", kept);
  expect("PUBACK", 0, await ben.publish("t/kept", "", kept));
  await early.receive("t/kept", "");
  const late = await new Peer("late").connected();
  await late.subscribed("t/kept", 1);
  await late.nothingCame();
  for (const peer of [ben, early, late]) await peer.close();
}

async function aWillIsLeftByTheBrokenAndNotByWhoSaidGoodbye() {
  const anna = await new Peer("anna-3").connected();
  await anna.subscribed("t/will", 1);
  await (await new Peer("polite", { user: "ben", will: ["t/will", "unsaid"] }).connected()).close();
  await anna.nothingCame();
  await (await new Peer("broken", { user: "ben", will: ["t/will", "gone"] }).connected()).cut();
  await anna.receive("t/will", "gone");
  await anna.close();
}

async function whatIsNotGrantedIsNotPublished() {
  const [anna, ben] = [await new Peer("anna-4").connected(), await new Peer("ben-4", { user: "ben" }).connected()];
  await anna.subscribed("ro/#", 1);
  if (isV5) {
    for (const qos of [1, 2]) {
      expect(`the answer at QoS ${qos}`, NOT_AUTHORIZED, await ben.publish("ro/x", "x", { qos }));
    }
    await ben.close();
  } else {
    // 3.1.1 has no word for it: the connection ends, and the publish stays unanswered.
    ben.publish("ro/x", "x").catch(() => {});
    await ben.disconnected();
  }
  await anna.nothingCame();
  await anna.close();
}

async function aKeptSessionQueuesWhileItsClientIsAway() {
  let anna = await new Peer("keeper", { keep: true }).connected();
  await anna.subscribed("t/away/#", 2);
  await anna.cut();
  const ben = await new Peer("ben-5", { user: "ben" }).connected();
  for (const qos of [1, 2]) {
    expect("the answer", 0, await ben.publish(`t/away/${qos}`, "waited", { qos }));
  }
  anna = await new Peer("keeper", { keep: true }).connected(true);
  for (const qos of [1, 2]) await anna.receive(`t/away/${qos}`, "waited", { qos });
  await ben.publish("t/away/now", "at once");
  await anna.receive("t/away/now", "at once");
  await anna.close();
  await (await new Peer("keeper").connected(false)).close();
  await ben.close();
}

async function aLargePacketPassesWhole() {
  const anna = await new Peer("anna-6").connected();
  await anna.subscribed("t/large", 1);
  const payload = Buffer.from(Array.from({ length: LARGE_BYTES }, (_, number) => number % 251));
  expect("PUBACK", 0, await anna.publish("t/large", payload));
  await anna.receive("t/large", payload);
  await anna.close();
}

async function manyArriveOnceAndInOrder() {
  const [anna, ben] = [await new Peer("anna-7").connected(), await new Peer("ben-7", { user: "ben" }).connected()];
  await anna.subscribed("t/many", 1);
  const answers = Array.from({ length: MANY }, (_, number) => ben.publish("t/many", `${number}`));
  for (let number = 0; number < MANY; number += 1) await anna.receive("t/many", `${number}`);
  expect("the answers", Array(MANY).fill(0), await Promise.all(answers));
  await anna.nothingCame();
  await anna.close();
  await ben.close();
}

async function whoeverIsTakenOverIsTold() {
  const first = await new Peer("one-of-two", { keep: true }).connected();
  const second = await new Peer("one-of-two", { keep: true }).connected(true);
  expect("the reason of the DISCONNECT", isV5 ? TAKEN_OVER : 0, await first.disconnected());
  await second.nothingCame();
  await second.close();
}

async function propertiesPassThrough() {
  const [anna, ben] = [await new Peer("anna-8").connected(), await new Peer("ben-8", { user: "ben" }).connected()];
  for (const [filter, subscriptionIdentifier] of [["t/asked/#", 7], ["t/asked/+", 300_000]]) {
    expect("SUBACK", [1], await anna.subscribe(filter, { qos: 1, properties: { subscriptionIdentifier } }));
  }
  const sent = {
    userProperties: { key: ["first", "second"], "\u00e9": "" },
    responseTopic: "t/answer",
    correlationData: Buffer.from([0, 255, 1, 7]),
    contentType: "application/json",
    payloadFormatIndicator: true,
  };
  const properties = { messageExpiryInterval: 600, ...sent };
  expect("PUBACK", 0, await ben.publish("t/asked/x", "{}", { properties }));
  const { messageExpiryInterval, subscriptionIdentifier, ...got } = (await anna.receive("t/asked/x", "{}")).properties;
  // The library makes its maps without a prototype.
  expect("properties", sent, { ...got, userProperties: { ...got.userProperties } });
  expect("some of 600 s is left", true, 500 <= messageExpiryInterval && messageExpiryInterval <= 600);
  expect("subscriptionIdentifier", [7, 300_000], [...subscriptionIdentifier].sort((a, b) => a - b));
  await anna.close();
  await ben.close();
}

async function whatExpiredIsNotDelivered() {
  let anna = await new Peer("sleeper", { keep: true }).connected();
  await anna.subscribed("t/brief", 1);
  await anna.cut();
  const ben = await new Peer("ben-9", { user: "ben" }).connected();
  for (const [payload, messageExpiryInterval] of [["too late", 1], ["in time", 600]]) {
    expect("PUBACK", 0, await ben.publish("t/brief", payload, { properties: { messageExpiryInterval } }));
  }
  await sleep(1_500);
  anna = await new Peer("sleeper", { keep: true }).connected(true);
  await anna.receive("t/brief", "in time");
  await anna.close();
  await (await new Peer("sleeper").connected()).close();
  await ben.close();
}

async function subscriptionOptionsAreHeeded() {
  const [anna, ben] = [await new Peer("anna-10").connected(), await new Peer("ben-10", { user: "ben" }).connected()];
  expect("SUBACK", [1], await anna.subscribe("t/own", { qos: 1, nl: true }));
  await anna.publish("t/own", "from anna");
  await ben.publish("t/own", "from ben");
  await anna.receive("t/own", "from ben");

  const [once, never] = [1, 2];
  await ben.publish("t/kept", "kept", { retain: true });
  await anna.subscribe("t/kept", { qos: 1, rh: never });
  await anna.nothingCame();
  await anna.unsubscribe("t/kept");
  await anna.subscribe("t/kept", { qos: 1, rh: once, rap: true });
  await anna.receive("t/kept", "kept", { retain: true });
  await anna.subscribe("t/kept", { qos: 1, rh: once, rap: true });
  await anna.nothingCame();
  await ben.publish("t/kept", "", { retain: true });
  await anna.receive("t/kept", "", { retain: true });
  await anna.close();
  await ben.close();
}

/** The library's own way: it gives each topic an alias, and sends the topic once. There are more topics than aliases. */
async function anAliasStandsForItsTopic() {
  const anna = await new Peer("anna-11").connected();
  await anna.subscribed("t/alias/+", 1);
  const ben = await new Peer("ben-11", { user: "ben", autoAssignTopicAlias: true }).connected();
  for (const round of ["named", "by alias"]) {
    for (let number = 0; number < 10; number += 1) {
      expect("PUBACK", 0, await ben.publish(`t/alias/${number}`, round));
      await anna.receive(`t/alias/${number}`, round);
    }
  }
  for (let number = 0; number < 40; number += 1) {
    expect("PUBACK", 0, await ben.publish(`t/alias/${number % 20}`, "aliases change"));
    await anna.receive(`t/alias/${number % 20}`, "aliases change");
  }
  await anna.close();
  await ben.close();
}

const OF_BOTH = [
  wrongLoginsAreRefusedWithTheirCode,
  everyQosArrivesAsTheLowerOfBoth,
  whatIsRetainedMeetsTheLateAndCanBeCleared,
  aWillIsLeftByTheBrokenAndNotByWhoSaidGoodbye,
  whatIsNotGrantedIsNotPublished,
  aKeptSessionQueuesWhileItsClientIsAway,
  aLargePacketPassesWhole,
  manyArriveOnceAndInOrder,
  whoeverIsTakenOverIsTold,
];
const OF_V5 = [
  propertiesPassThrough,
  whatExpiredIsNotDelivered,
  subscriptionOptionsAreHeeded,
  anAliasStandsForItsTopic,
];

for (const step of isV5 ? [...OF_BOTH, ...OF_V5] : OF_BOTH) {
  console.log(step.name);
  await step();
}
