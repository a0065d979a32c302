import type { ChatProvider, Clock, Telemetry } from '../../core/ports.ts';
import type { Abortable } from '../../core/signal.ts';
import type { EmbeddingRequest } from '../../domain/chat.ts';
import { GatewayError } from '../../domain/error.ts';
import type { EmbeddingStream } from '../../domain/event.ts';
import type { Backend } from '../../domain/model.ts';
import { type DetailsCache, WatchedBackend } from './backend.ts';
import { ChatAnswer } from './chat.ts';
import { createOllamaClient, type OllamaClient } from './client.ts';
import { decodeEmbedding } from './embedding.ts';
import { encodeEmbedding, type Settings } from './encode.ts';

export interface FleetOptions {
  /** Base addresses. Their order gives the labels: `ollama-1`, `ollama-2`, … */
  readonly urls: readonly string[];
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Context sizes by canonical model name, or `*`. Absent: the backends' own. */
  readonly numCtx?: ReadonlyMap<string, number>;
  /** How long models stay in memory where a request does not say. Absent: the backends' own setting. */
  readonly keepAlive?: number | string;
  readonly connectTimeoutMs?: number;
  /** Time between two looks at a backend. */
  readonly pollMs?: number;
  /** How long a backend may take to say that it is there. */
  readonly probeTimeoutMs?: number;
  /** Most connections to one backend: an upper bound on memory, far above what a backend can work on. */
  readonly connections?: number;
}

/**
 * The fleet of Ollama servers, each watched in the background from now until `close()`. The first looks are under way
 * when this returns; `refresh()` waits for them.
 */
export function createOllamaFleet(options: FleetOptions): ChatProvider {
  const { clock } = options;
  const settings: Settings = {
    numCtx: options.numCtx ?? new Map(),
    ...(options.keepAlive !== undefined && { keepAlive: options.keepAlive }),
  };
  let snapshot: readonly Backend[] | undefined;
  const details: DetailsCache = new Map();
  const members = new Map(
    options.urls.map((url, index) => {
      const label = `ollama-${index + 1}`;
      const forget = () => {
        snapshot = undefined;
      };
      return [label, createMember(url, label, options, details, forget)];
    }),
  );
  const all = [...members.values()];

  const lookEverywhere = () => Promise.all(all.map((member) => member.backend.look())).then(() => undefined);
  let lastLook = { at: clock.now(), done: lookEverywhere() };

  return {
    backends() {
      snapshot ??= all.map((member) => member.backend.seen);
      return snapshot;
    },
    refresh() {
      if (clock.now() - lastLook.at >= 1000) lastLook = { at: clock.now(), done: lookEverywhere() };
      return lastLook.done;
    },
    chat: (id, request, signal, onRead) =>
      new ChatAnswer({ find: () => known(members.get(id)), request, settings }, signal, onRead),
    embed: (id, request, signal) => embed(members.get(id), request, settings, signal),
    async close() {
      const reason = new GatewayError('shutting_down', 'The gateway is shutting down.');
      for (const { backend } of all) backend.stop();
      await Promise.all(all.flatMap(({ client, probes }) => [client.close(reason), probes.close(reason)]));
    },
  };
}

interface Member {
  readonly backend: WatchedBackend;
  readonly client: OllamaClient;
  readonly probes: OllamaClient;
}

function createMember(
  url: string,
  label: string,
  options: FleetOptions,
  details: DetailsCache,
  onChange: () => void,
): Member {
  const { clock, telemetry, connectTimeoutMs = 2000, pollMs = 2000, probeTimeoutMs = 1000 } = options;
  const client = createOllamaClient({
    url,
    label,
    connectTimeoutMs,
    connections: options.connections ?? 2048,
  });
  const probes = createOllamaClient({ url, label, connectTimeoutMs: probeTimeoutMs, connections: 4 });
  const backend = new WatchedBackend({
    label,
    probes,
    clock,
    telemetry,
    pollMs,
    probeTimeoutMs,
    details,
    onChange,
  });
  return { backend, client, probes };
}

function known(member: Member | undefined): Member {
  if (member) return member;
  throw new GatewayError('upstream_unavailable', 'There is no such model server.');
}

/** Ample for the longest vectors there are, so that a hostile answer cannot fill the memory. */
const MAX_VECTOR_BYTES = 256 * 1024;
const MAX_EMBEDDING_BYTES = 256 * 1024 * 1024;

async function* embed(
  member: Member | undefined,
  request: EmbeddingRequest,
  settings: Settings,
  signal: Abortable,
): EmbeddingStream {
  const { backend, client } = known(member);
  const { body, warnings } = encodeEmbedding(request, settings);
  const maxBytes = Math.min((request.inputs.length + 1) * MAX_VECTOR_BYTES, MAX_EMBEDDING_BYTES);
  const visit = backend.enter(signal);
  try {
    const call = { path: '/api/embed', body: JSON.stringify(body) } as const;
    const answer = await client.json(call, visit.signal, maxBytes);
    visit.leave();
    yield decodeEmbedding(answer, request, warnings);
  } catch (error) {
    backend.noteFailure(error);
    throw error;
  } finally {
    visit.leave();
  }
}
