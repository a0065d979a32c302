/**
 * The serving of GraphQL in a process of its own, which tells how it fares: what `graphql-process.ts` starts. Every
 * message is answered with the figures since the one before.
 */
import { startGraphQLServer } from './graphql-server.ts';

/** How a process has fared for a while. */
export interface Figures {
  /** The longest that anything had to wait for its turn, in milliseconds. */
  readonly longestDelayMs: number;
  /** CPU time in milliseconds. */
  readonly cpuMs: number;
  /** The most memory that the process has occupied, in bytes, looked at now and then. */
  readonly peakBytes: number;
}

const SAMPLE_MS = 10;

const server = await startGraphQLServer({ maxBodyBytes: 4_000_000 });
let cpu = process.cpuUsage();
let peakBytes = 0;
let longestDelayMs = 0;
let lookedAt = performance.now();

// Node's own monitor of delays misses what comes in the first interval after a reset, which is what is measured here.
const lookAtDelay = () => {
  const now = performance.now();
  longestDelayMs = Math.max(longestDelayMs, now - lookedAt);
  lookedAt = now;
};
const lookAtMemory = () => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
};
setInterval(lookAtDelay, 1);
setInterval(lookAtMemory, SAMPLE_MS);

process.on('message', () => {
  lookAtDelay();
  lookAtMemory();
  const { user, system } = process.cpuUsage(cpu);
  const figures: Figures = { longestDelayMs, cpuMs: (user + system) / 1000, peakBytes };
  longestDelayMs = 0;
  peakBytes = 0;
  cpu = process.cpuUsage();
  process.send?.(figures);
});
process.on('disconnect', () => process.exit());
process.send?.({ url: server.url, wsUrl: server.wsUrl });
