import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { Gate } from './exchange.ts';
import { DEFAULT_MODELS, Models, type SimulatedModel } from './models.ts';
import { createHandler, type ReceivedRequest } from './routes.ts';
import { Scheduler } from './scheduler.ts';
import { type Script, Scripts } from './script.ts';
import { Counters, type Stats } from './stats.ts';

export type { SimulatedModel } from './models.ts';
export type { ReceivedRequest } from './routes.ts';
export type { Script } from './script.ts';
export type { Stats } from './stats.ts';

export interface SimulatorOptions {
  /** Absent or 0: a free one. */
  readonly port?: number;
  readonly host?: string;
  /** Replaces the five that are installed by default. */
  readonly models?: readonly SimulatedModel[];
  /** How long a model takes to load. */
  readonly loadMs?: number;
  /** Time between two tokens. 0 is as fast as the reader takes them. */
  readonly paceMs?: number;
  /** Requests that one model works on at a time. */
  readonly parallel?: number;
  /** Requests that may wait for a load before the next one gets a 503. */
  readonly maxQueue?: number;
  /** Models in memory at a time. */
  readonly maxLoaded?: number;
  /** How long an unused model stays in memory. Infinity: for good. */
  readonly keepAliveMs?: number;
  /** The default script. */
  readonly script?: Script;
  readonly version?: string;
}

/** An Ollama server without models behind it, for tests, demonstrations and measurements. */
export interface Simulator {
  /** E.g. `http://127.0.0.1:11434`. It stays the same over `stop` and `restart`. */
  readonly url: string;
  stats(): Stats;
  /** The last requests to any path, oldest first. */
  requests(): readonly ReceivedRequest[];
  /** Scripts for the next requests to chat, generate and embed, one each. They replace the default. */
  script(...scripts: readonly Script[]): void;
  setDefault(script: Script): void;
  /** Resolves when the counts are so. Nothing is polled: every change of a count is looked at. */
  until(predicate: (stats: Stats) => boolean): Promise<void>;
  addModel(model: SimulatedModel): void;
  /** @returns false where there was none. */
  removeModel(name: string): boolean;
  /** Takes every model out of memory, those in use when their last request ends. */
  unloadAll(): void;
  /** Ends as a terminated process does: listener and connections at once, models gone from memory. */
  stop(): Promise<void>;
  /** Listens again at the same address. */
  restart(): Promise<void>;
  /** Takes connections and answers nothing, also no more lines of running streams. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

const FIVE_MINUTES_MS = 300_000;

export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const host = options.host ?? '127.0.0.1';
  const counters = new Counters();
  const models = new Models(options.models ?? DEFAULT_MODELS);
  const scripts = new Scripts(options.script ?? {});
  const gate = new Gate();
  const scheduler = new Scheduler(
    {
      parallel: options.parallel ?? 1,
      maxQueue: options.maxQueue ?? 512,
      maxLoaded: options.maxLoaded ?? 3,
      keepAliveMs: options.keepAliveMs ?? FIVE_MINUTES_MS,
    },
    counters,
  );
  const received: ReceivedRequest[] = [];
  const handler = createHandler({
    models,
    scheduler,
    scripts,
    counters,
    gate,
    received,
    paceMs: options.paceMs ?? 0,
    loadMs: options.loadMs ?? 0,
    version: options.version ?? '0.34.3',
    isLoopback: host === 'localhost' || host === '::1' || host.startsWith('127.'),
  });

  let http = await listen(handler, options.port ?? 0, host);
  const { port } = http.address() as AddressInfo;
  const stop = async () => {
    gate.open();
    await shut(http);
    scheduler.expireAll();
  };
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    stats: () => counters.read(),
    requests: () => [...received],
    script: (...queued) => scripts.push(queued),
    setDefault: (script) => scripts.setDefault(script),
    until: (predicate) => counters.until(predicate),
    addModel: (model) => models.add(model),
    removeModel: (name) => models.remove(name),
    unloadAll: () => scheduler.expireAll(),
    stop,
    async restart() {
      if (!http.listening) http = await listen(handler, port, host);
    },
    freeze: () => gate.close(),
    thaw: () => gate.open(),
    close: stop,
  };
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

function listen(handler: Handler, port: number, host: string): Promise<HttpServer> {
  // The real server has no limit on time or on connections kept open.
  const limits = { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0, maxHeaderSize: 2 ** 20 };
  const http = createServer(limits, handler);
  return new Promise((resolve, reject) => {
    http.once('error', reject);
    http.listen(port, host, () => {
      http.off('error', reject);
      resolve(http);
    });
  });
}

function shut(http: HttpServer): Promise<void> {
  if (!http.listening) return Promise.resolve();
  return new Promise((resolve) => {
    http.close(() => resolve());
    http.closeAllConnections();
  });
}
