// The demo as a process of our own: free ports, a directory of its own, ended by its id.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./waiting.mjs";

const root = new URL("../../", import.meta.url).pathname;
const binary = process.env.COINWIRE_BIN ?? join(root, "target/debug/coinwire");
const END_MS = 10_000;

/** Starts a demo and waits until it is payable. Gives what `demo.json` says, and `end`. */
export async function startDemo({ modules = 3 } = {}) {
  const data = await mkdtemp(join(tmpdir(), "coinwire-browser-"));
  const args = ["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data", data, "--modules", `${modules}`];
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => (said += bytes));
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.once("error", (error) => (said += error.message));
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);

  const end = async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(kill, END_MS);
    await ended;
    clearTimeout(timer);
    process.removeListener("exit", kill);
    await rm(data, { recursive: true, force: true });
  };
  try {
    const facts = await until("demo.json", async () => {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`the demo ended: ${said}`);
      // Not there yet, or not whole yet.
      return readFile(join(data, "demo.json"), "utf8").then(JSON.parse).catch(() => undefined);
    });
    return { ...facts, end };
  } catch (error) {
    await end();
    throw error;
  }
}
