/**
 * The serving of GraphQL in a process of its own, which tells how it fares: what `graphql-process.ts` starts. Every
 * message is answered with the figures since the one before.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
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
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
let cpu = process.cpuUsage();
let peakBytes = 0;
setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
}, SAMPLE_MS);

process.on('message', () => {
  const { user, system } = process.cpuUsage(cpu);
  const figures: Figures = {
    longestDelayMs: delay.max / 1e6,
    cpuMs: (user + system) / 1000,
    peakBytes: Math.max(peakBytes, process.memoryUsage.rss()),
  };
  delay.reset();
  cpu = process.cpuUsage();
  peakBytes = 0;
  process.send?.(figures);
});
process.on('disconnect', () => process.exit());
process.send?.({ url: server.url, wsUrl: server.wsUrl });
