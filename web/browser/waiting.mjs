// Waiting for conditions, never for time.
export const PATIENCE_MS = 60_000;
const GLANCE_MS = 50;

/** Looks again and again until there is something to see, and gives it. */
export async function until(what, look) {
  const begun = Date.now();
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() - begun > PATIENCE_MS) throw new Error(`waited ${PATIENCE_MS / 1000} s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, GLANCE_MS));
  }
}
